"""Accounts, passwords, application passwords, and the demo's password."""

from __future__ import annotations

import pytest

from appliance import demo
from appliance.control import CallError
from tests.appliance.calls.conftest import EVERYWHERE, Desk

ANA = "ana@palomar.test"
SECRET = "correct horse"


async def test_an_account_is_made_shown_and_can_log_in(desk: Desk) -> None:
    made = await desk.ask("account.add", name="Ines@palomar.test", password=SECRET, quota_bytes=1000)
    assert (made["name"], made["quota_bytes"], made["used_bytes"], made["enabled"]) == (
        "ines@palomar.test",
        1000,
        0,
        True,
    )
    assert await desk.ask("account.show", name="ines@palomar.test") == made
    assert [row["name"] for row in await desk.ask("account.list")] == [ANA, "ines@palomar.test", "luis@palomar.test"]
    assert await desk.login("ines@palomar.test", SECRET) == "ines@palomar.test"
    assert await desk.login("ines@palomar.test", "wrong horse") is None


@pytest.mark.parametrize(
    ("name", "password", "kind", "remedy"),
    [
        ("ines@elsewhere.test", SECRET, "Domain", "palomar domain add elsewhere.test"),
        ("ines", SECRET, "AddressError", "ana@example.org"),
        (ANA, SECRET, "ExistsError", "account list"),
        ("ines@palomar.test", "short", "Password", "longer"),
        ("ines@palomar.test", "with\x00null", "Password", "another"),
    ],
)
async def test_what_cannot_be_an_account(desk: Desk, name: str, password: str, kind: str, remedy: str) -> None:
    with pytest.raises(CallError) as caught:
        await desk.ask("account.add", name=name, password=password)
    assert caught.value.kind == kind
    assert remedy in caught.value.remedy
    assert len(await desk.ask("account.list")) == 2


async def test_a_domain_of_the_store_has_accounts_too(desk: Desk) -> None:
    await desk.ask("domain.add", name="example.org")
    assert (await desk.ask("account.add", name="ines@example.org", password=SECRET))["name"] == "ines@example.org"
    await desk.ask("domain.add", name="backup.org", kind="backup")
    with pytest.raises(CallError, match="no domain of ours"):
        await desk.ask("account.add", name="ines@backup.org", password=SECRET)


async def test_settings_of_an_account_change_one_by_one(desk: Desk) -> None:
    await desk.ask("account.set", name=ANA, quota_bytes=5000)
    await desk.ask("account.set", name=ANA, enabled=False)
    found = await desk.ask("account.set", name=ANA, redirect="ana@elsewhere.test")
    assert (found["quota_bytes"], found["enabled"], found["redirect"]) == (5000, False, "ana@elsewhere.test")
    found = await desk.ask("account.set", name=ANA, redirect="")
    assert (found["quota_bytes"], found["enabled"], found["redirect"]) == (5000, False, "")
    with pytest.raises(CallError, match="no mail address"):
        await desk.ask("account.set", name=ANA, redirect="nonsense")


@pytest.mark.parametrize("call", ["account.show", "account.set", "account.delete", "account.app_password_list"])
async def test_an_unknown_account_has_a_remedy(desk: Desk, call: str) -> None:
    with pytest.raises(CallError, match="no account zoe") as caught:
        await desk.ask(call, name="zoe@palomar.test")
    assert (caught.value.kind, "account list" in caught.value.remedy) == ("NotFoundError", True)


async def test_a_new_password_replaces_the_old_one(desk: Desk) -> None:
    await desk.ask("account.password", name=ANA, password=SECRET)
    await desk.ask("account.password", name=ANA, password="another horse")
    assert await desk.login(ANA, SECRET) is None
    assert await desk.login(ANA, "another horse") == ANA


async def test_a_disabled_account_cannot_log_in(desk: Desk) -> None:
    await desk.ask("account.password", name=ANA, password=SECRET)
    await desk.ask("account.set", name=ANA, enabled=False)
    assert await desk.login(ANA, SECRET) is None


async def test_application_passwords_have_logins_of_their_own(desk: Desk) -> None:
    await desk.ask("account.password", name=ANA, password=SECRET)
    made = await desk.ask("account.app_password_add", name=ANA, label="phone")
    assert made["login"] == "ana+phone@palomar.test"
    assert len(made["password"].replace("-", "")) == 16
    assert await desk.login("ana+phone@palomar.test", made["password"]) == ANA
    assert await desk.login("ana+phone@palomar.test", SECRET) is None
    assert await desk.ask("account.app_password_list", name=ANA) == [
        {"label": "phone", "login": "ana+phone@palomar.test"}
    ]
    assert (await desk.ask("account.show", name=ANA))["app_passwords"] == ["phone"]
    with pytest.raises(CallError, match="already"):
        await desk.ask("account.app_password_add", name=ANA, label="phone")
    await desk.ask("account.app_password_remove", name=ANA, label="phone")
    assert await desk.login("ana+phone@palomar.test", made["password"]) is None
    with pytest.raises(CallError, match="no application password phone"):
        await desk.ask("account.app_password_remove", name=ANA, label="phone")
    assert await desk.login(ANA, SECRET) == ANA


@pytest.mark.parametrize("label", ["", "Phone", "a b", "-x", "x" * 33, "a+b", "ä"])
async def test_what_is_no_label(desk: Desk, label: str) -> None:
    with pytest.raises(CallError, match="no label"):
        await desk.ask("account.app_password_add", name=ANA, label=label)


async def kinds(desk: Desk) -> set[str]:
    from appliance.store.accounts import list_credentials

    return {one.kind for one in await desk.core.store.read(lambda db: list_credentials(db, ANA))}


async def test_weak_verifiers_come_and_go_by_choice(desk: Desk) -> None:
    await desk.ask("account.password", name=ANA, password=SECRET)
    assert await kinds(desk) == {"argon2id", "scram-sha-256"}
    with pytest.raises(CallError, match="password is needed"):
        await desk.ask("account.weak", name=ANA, allow=True)
    with pytest.raises(CallError, match="not the password of ana@palomar") as caught:
        await desk.ask("account.weak", name=ANA, allow=True, password="wrong horse")
    assert "palomar account password ana@palomar.test" in caught.value.remedy
    with pytest.raises(CallError, match="not the password of ana@palomar"):
        await desk.ask("account.weak", name=ANA, allow=True, password="with\x00null")
    assert await kinds(desk) == {"argon2id", "scram-sha-256"}
    assert await desk.login(ANA, SECRET) == ANA
    await desk.ask("account.weak", name=ANA, allow=True, password=SECRET)
    assert await kinds(desk) == {"argon2id", "scram-sha-256", "scram-sha-1", "plain"}
    assert (await desk.ask("account.show", name=ANA))["weak"]
    await desk.ask("account.password", name=ANA, password="another horse")
    assert "plain" in await kinds(desk)
    await desk.ask("account.weak", name=ANA, allow=False)
    assert await kinds(desk) == {"argon2id", "scram-sha-256"}
    assert await desk.login(ANA, "another horse") == ANA


async def test_a_deleted_account_is_gone(desk: Desk) -> None:
    await desk.ask("account.delete", name=ANA)
    assert [row["name"] for row in await desk.ask("account.list")] == ["luis@palomar.test"]


async def test_the_demo_s_password_is_for_the_loopback_only(desk: Desk) -> None:
    await desk.ask("account.password", name=ANA, password=demo.PASSWORD)
    assert await desk.login(ANA, demo.PASSWORD) == ANA
    assert await demo.problems(desk.core) == []
    desk.listen(EVERYWHERE)
    with pytest.raises(CallError, match=r"smtp\.mx"):
        await desk.ask("account.password", name="luis@palomar.test", password=demo.PASSWORD)
    (problem,) = await demo.problems(desk.core)
    assert problem.setting == "smtp.mx"
    assert ANA in problem.text
    assert problem.remedy.endswith(f"account password {ANA}")
    await desk.ask("account.password", name=ANA, password=SECRET)
    assert await demo.problems(desk.core) == []


async def test_an_application_password_does_not_hide_the_demo_s(desk: Desk) -> None:
    await desk.ask("account.app_password_add", name=ANA, label="phone")
    await desk.ask("account.password", name=ANA, password=demo.PASSWORD)
    desk.listen(EVERYWHERE)
    assert len(await demo.problems(desk.core)) == 1


async def test_a_hash_stands_for_the_password(desk: Desk) -> None:
    verifiers = " ".join(data.decode() for _, data in await desk.core.auth.new_credentials(SECRET))
    await desk.ask("account.add", name="ines@palomar.test", verifiers=verifiers)
    assert await desk.login("ines@palomar.test", SECRET) == "ines@palomar.test"
    await desk.ask("account.password", name=ANA, verifiers=verifiers)
    assert await desk.login(ANA, SECRET) == ANA
    with pytest.raises(CallError, match="argon2id"):
        await desk.ask("account.password", name=ANA, verifiers="$6$salt$hash")
