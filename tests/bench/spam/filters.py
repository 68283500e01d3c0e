"""The filters side by side: each learns one half and scores the other. None asks the network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from plugins.spam.bayes.config import BayesConfig
from plugins.spam.bayes.memory import Memory
from plugins.spam.bayes.protocol_classifier import classify
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.bayes.schema import BASE
from tests.bench.spam.corpus import Letter

_SPAMASSASSIN = r"""
use Mail::SpamAssassin;
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
    if ($what eq "learn") { $sa->learn($mail, undef, $spam, 0)->finish() }
    else { my $found = $sa->check($mail); print $found->get_score(), "\n"; $found->finish() }
    $mail->finish();
}
$sa->rebuild_learner_caches() if $what eq "learn";
$sa->finish_learner() if $what eq "learn";
"""


def ours(older: Sequence[Letter], newer: Sequence[Letter]) -> list[float]:
    """The strength that spam.bayes gives, with the limits of its settings."""
    memory, room = Memory(), BayesConfig().max_tokens
    for one in older:
        memory.learn(BASE, tokens_of(one.message), spam=one.spam, day=int(one.at // 86_400), room=room)
    return [classify(tokens_of(one.message), memory.base).strength for one in newer]


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
    environment = {**os.environ, "HOME": str(folder)}
    command = ["perl", "-e", _SPAMASSASSIN]
    lines = "".join(f"{int(is_spam)} {path}\n" for path, is_spam in zip(older, spam, strict=True))
    subprocess.run([*command, "learn", folder], input=lines, text=True, check=True, env=environment)
    lines = "".join(f"0 {path}\n" for path in newer)
    done = subprocess.run(
        [*command, "check", folder], input=lines, text=True, stdout=subprocess.PIPE, check=True, env=environment
    )
    return [float(line) for line in done.stdout.splitlines()]
