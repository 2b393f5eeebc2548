"""Stands in for kubectl where there is no cluster, as far as run.sh asks: `apply -k` renders by the real one, and the Job that
is let go on is run by pods.py. KUBECTL is the real one, STATE a directory, PODS what pods.py is called with."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import yaml

STATE, KUBECTL = os.environ["STATE"], os.environ["KUBECTL"]
RENDERED, OUT = f"{STATE}/objects.yaml", f"{STATE}/out"


def objects():
    with open(RENDERED, encoding="utf-8") as file:
        return [one for one in yaml.safe_load_all(file) if one]


def keep(all_objects):
    with open(RENDERED, "w", encoding="utf-8") as file:
        yaml.safe_dump_all(all_objects, file)


def find(all_objects, kind, name):
    return next(one for one in all_objects if (one["kind"], one["metadata"]["name"]) == (kind, name))


def apply(words):
    if words[0] == "-k":
        with open(RENDERED, "w", encoding="utf-8") as file:
            subprocess.run([KUBECTL, "kustomize", words[1]], stdout=file, check=True)
    else:
        applied, there = yaml.safe_load(sys.stdin), objects()
        find(there, applied["kind"], applied["metadata"]["name"])["data"] = applied["data"]
        keep(there)


def patch(words):
    there = objects()
    find(there, "Job", words[1])["spec"].update(json.loads(words[words.index("--patch") + 1])["spec"])
    keep(there)
    os.makedirs(OUT)
    command = [*shlex.split(os.environ["PODS"]), RENDERED, "--out", OUT, "--is-patched"]
    with open(f"{STATE}/outcome.json", "w", encoding="utf-8") as file, open(f"{STATE}/pods.log", "w", encoding="utf-8") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=log, start_new_session=True)


def get(words):
    index = re.search(r"job-completion-index=(\d+)", words[words.index("--selector") + 1])[1]
    try:
        with open(f"{OUT}/exit-{index}", encoding="utf-8") as file:
            code = file.read()
    except FileNotFoundError:
        code = ""
    print(f"megaconn-client-{index}-abcde {code}")


def copy(words):
    pod, path = words[-2].split(":", 1)
    shutil.copytree(f"{OUT}/work/{pod}{path}", words[-1])


def execute(words):
    # The keeper's own command, in the volume that it has there.
    *_, pod, _, _, _, program, path = ["", *words]
    assert program == "touch", words
    subprocess.run(["touch", f"{OUT}/work/{pod}{path}"], check=True)


def logs(words):
    with open(f"{OUT}/{words[0]}.{words[words.index('--container') + 1]}.log", encoding="utf-8") as file:
        print(file.read(), end="")


def main():
    words = sys.argv[1:]
    if words[0] == "--namespace":
        assert words[1] == "megaconn"
        words = words[2:]
    does = {"apply": apply, "patch": patch, "get": get, "cp": copy, "exec": execute, "logs": logs}
    if words[:2] == ["create", "configmap"]:
        assert "--dry-run=client" in words
        sys.exit(subprocess.run([KUBECTL, *words], check=False).returncode)
    if words[:2] not in (["delete", "job"], ["rollout", "status"]):
        does[words[0]](words[1:])


main()
