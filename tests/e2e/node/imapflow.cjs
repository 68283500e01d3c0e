// A client of npm's imapflow goes through a day of a mailbox and prints what it saw as one JSON object.
// Arguments: port, "tls" or "starttls", account. The password is in PASSWORD.
"use strict";
const { ImapFlow } = require("imapflow");

const [port, way, user] = process.argv.slice(2);
const client = () =>
  new ImapFlow({
    host: "localhost",
    port: Number(port),
    secure: way === "tls",
    doSTARTTLS: way === "starttls" ? true : undefined,
    auth: { user, pass: process.env.PASSWORD },
    logger: false,
    qresync: true,
  });
const subjects = async (flow, range, query = {}) => {
  const found = [];
  for await (const message of flow.fetch(range, { envelope: true, uid: true, flags: true, ...query }, { uid: true })) {
    found.push({ uid: message.uid, subject: message.envelope.subject, flags: [...message.flags].sort() });
  }
  return found;
};

async function main() {
  const said = {};
  const flow = client();
  await flow.connect();
  said.secure = Boolean(flow.secureConnection);
  said.enabled = [...flow.enabled].sort();
  said.mailboxes = (await flow.list({ statusQuery: { messages: true } })).map((one) => ({
    path: one.path,
    use: one.specialUse ?? "",
    messages: one.status?.messages ?? null,
  }));
  const created = await flow.mailboxCreate(["Pigeons", "Ñandú & co"]);
  said.created = created.path;

  const lock = await flow.getMailboxLock("INBOX");
  try {
    said.exists = flow.mailbox.exists;
    said.first = await subjects(flow, "1:*");
    const one = await flow.fetchOne("*", { source: true, bodyStructure: true, size: true, internalDate: true });
    said.source = one.source.toString("base64");
    said.size = one.size;
    said.structure = one.bodyStructure.type;
    const { content } = await flow.download("*", one.bodyStructure.childNodes ? "1" : undefined);
    let text = "";
    for await (const chunk of content) text += chunk.toString();
    said.text = text;
    said.found = await flow.search({ body: "needle" }, { uid: true });
    said.either = await flow.search({ or: [{ subject: "zero" }, { subject: "two" }] }, { uid: true });
    await flow.messageFlagsAdd({ subject: "flow one" }, ["\\Flagged", "$Label1"]);
    said.flagged = await subjects(flow, said.first.map((message) => message.uid).join(","));
    const copied = await flow.messageCopy({ subject: "flow zero" }, created.path);
    said.copied = [...copied.uidMap.values()];

    // Another connection changes the mailbox; this one hears of it in IDLE.
    const other = client();
    await other.connect();
    const heard = new Promise((resolve) => flow.once("exists", resolve));
    const idle = flow.idle();
    const raw = Buffer.from("From: b@example.org\r\nSubject: flow new\r\n\r\nhere\r\n");
    const appended = await other.append("INBOX", raw, ["\\Seen"], new Date(1e12));
    said.appended = appended.uid;
    said.heard = (await heard).count;
    const gone = new Promise((resolve) => flow.once("expunge", resolve));
    await other.mailboxOpen("INBOX");
    await other.messageDelete({ subject: "flow zero" });
    said.gone = (await gone).uid;
    await other.logout();
    await flow.noop();
    await idle;
    const moved = await flow.messageMove({ subject: "flow two" }, "Archive");
    said.moved = [...moved.uidMap.keys()];
    said.last = await subjects(flow, "1:*");
    const quick = await flow.fetchAll("1:*", { uid: true, flags: true }, { uid: true, changedSince: flow.mailbox.highestModseq });
    said.unchanged = quick.length;
  } finally {
    lock.release();
  }
  await flow.mailboxRename(created.path, ["Pigeons", "Renamed"]);
  said.status = await flow.status("Pigeons/Renamed", { messages: true, uidNext: true, highestModseq: true });
  said.status.highestModseq = String(said.status.highestModseq);
  await flow.mailboxDelete("Pigeons/Renamed");
  await flow.mailboxDelete("Pigeons");
  said.quota = (await flow.getQuota("INBOX")) || null;
  await flow.logout();
  process.stdout.write(JSON.stringify(said));
}

main().catch((error) => {
  console.error(error, error.responseText ?? "");
  process.exit(1);
});
