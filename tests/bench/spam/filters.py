"""The filters side by side: each learns one half and scores the other. None asks the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile

from plugins.spam.bayes.bayes import weight
from plugins.spam.bayes.config import BayesConfig
from plugins.spam.bayes.memory import Memory
from plugins.spam.bayes.protocol_classifier import classify
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.bayes.schema import BASE
from plugins.spam.heuristics.config import HeuristicsConfig
from plugins.spam.heuristics.heuristics import findings, scores
from tests.bench.spam.corpus import Letter

PROCESSES = 2  # of SpamAssassin side by side: each has read all rules once
SHOWN_EVERY = 200  # messages

_SPAMASSASSIN = r"""
use Mail::SpamAssassin;
$| = 1;
my ($what, $home) = @ARGV;
my $sa = Mail::SpamAssassin->new({local_tests_only => 1, dont_copy_prefs => 1, userstate_dir => $home,
    userprefs_filename => "$home/user_prefs", home_dir_for_helpers => $home});
$sa->init(1);
$sa->init_learner({caller_will_untie => 1}) if $what eq "learn";
while (my $line = <STDIN>) {
    chomp $line;
    my ($spam, $path) = split / /, $line, 2;
    open(my $file, "<", $path) or die "$path: $!";
    my $mail = $sa->parse(join("", <$file>), 1);
    if ($what eq "learn") { $sa->learn($mail, undef, $spam, 0)->finish(); print "learnt\n" }
    else { my $found = $sa->check($mail); print $found->get_score(), "\n"; $found->finish() }
    $mail->finish();
}
$sa->rebuild_learner_caches() if $what eq "learn";
$sa->finish_learner() if $what eq "learn";
"""


def ours(older: Sequence[Letter], newer: Sequence[Letter]) -> tuple[list[float], list[float], list[float]]:
    """The strength that spam.bayes gives; the sum that spam.judge makes of it and spam.heuristics; the same without
    the rules on Received fields, which collectors of mail write, too.
    """
    memory, config, rules = Memory(), BayesConfig(), HeuristicsConfig()
    for one in older:
        memory.learn(BASE, tokens_of(one.message), spam=one.spam, day=int(one.at // 86_400), room=config.max_tokens)
    alone, together, without = list[float](), list[float](), list[float]()
    for one in newer:
        alone.append(classify(tokens_of(one.message), memory.base).strength)
        found = findings(one.message, one.at, scores(), rules)
        base = weight(alone[-1], config)
        together.append(base + sum(finding.score for finding in found))
        without.append(base + sum(one.score for one in found if not one.result.startswith("received_")))
    return alone, together, without


def bogofilter(older: Sequence[Path], newer: Sequence[Path], spam: Sequence[bool], folder: Path) -> list[float]:
    """Its spamicity from 0 to 1."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for flag, wanted in (("-s", True), ("-n", False)):
        names = "".join(f"{path}\n" for path, is_spam in zip(older, spam, strict=True) if is_spam is wanted)
        subprocess.run(["bogofilter", "-C", "-d", folder, flag, "-b"], input=names, text=True, check=True)
    names = "".join(f"{path}\n" for path in newer)
    done = subprocess.run(
        ["bogofilter", "-C", "-d", folder, "-T", "-v", "-b"],
        input=names,
        text=True,
        stdout=subprocess.PIPE,
        check=False,
    )  # its exit status tells of the last message
    return [float(line.split()[-1]) for line in done.stdout.splitlines()]


def spamassassin(older: Sequence[Path], newer: Sequence[Path], spam: Sequence[bool], folder: Path) -> list[float]:
    """The sum of its rules, its own Bayes with them; nothing learns by itself."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "user_prefs").write_text(
        f"use_bayes 1\nbayes_auto_learn 0\nbayes_path {folder}/bayes\nskip_rbl_checks 1\n"
    )
    lines = [f"{int(is_spam)} {path}\n" for path, is_spam in zip(older, spam, strict=True)]
    _perl("learn", folder, lines)
    return check_with_spamassassin(folder, newer)


def check_with_spamassassin(home: Path, paths: Sequence[Path]) -> list[float]:
    """The sums of its rules for these messages, with what it has learnt below `home`."""
    shares = [[f"0 {path}\n" for path in paths[place::PROCESSES]] for place in range(min(PROCESSES, len(paths)))]
    with ThreadPoolExecutor(PROCESSES) as threads:
        found = list(threads.map(lambda share: _perl("check", home, share), shares))
    return [float(found[place % PROCESSES][place // PROCESSES]) for place in range(len(paths))]


def _perl(what: str, folder: Path, lines: Sequence[str]) -> list[str]:
    """Have one process do all of these messages, and tell now and then how far it is. Returns a line for each."""
    environment = {**os.environ, "HOME": str(folder)}
    command = ["perl", "-e", _SPAMASSASSIN, what, str(folder)]
    found: list[str] = []
    with TemporaryFile("w+") as letters:
        letters.writelines(lines)
        letters.seek(0)
        with subprocess.Popen(command, stdin=letters, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                found.append(line)
                if len(found) % SHOWN_EVERY == 0:
                    print(f"  SpamAssassin: {len(found)} of {len(lines)} ({what})", file=sys.stderr, flush=True)
    if process.returncode or len(found) != len(lines):
        raise RuntimeError(f"SpamAssassin ended with {process.returncode} after {len(found)} of {len(lines)} messages")
    return found
