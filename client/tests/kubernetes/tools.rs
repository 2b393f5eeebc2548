//! What reads and renders manifests: Python with the schemas, in a place of its own, and kubectl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use crate::lab::host::skipped;

static INSTALLING: Mutex<()> = Mutex::new(());

/// A file beside this one.
pub(crate) fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes").join(name)
}

/// The folder of the manifests.
pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench-scripts/kubernetes")
}

/// A program of Python's with the packages of `requirements.txt`, installed once beside the other things that are built;
/// `None`, said loudly, where they cannot be had.
pub(crate) fn python(name: &str) -> Option<Command> {
    let _one_at_a_time = INSTALLING.lock().expect("no test panics while it installs");
    let wanted = beside("requirements.txt");
    let text = fs::read_to_string(&wanted).expect("it is there");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubernetes-python");
    let (stamp, program) = (place.join("requirements.txt"), place.join("bin/python"));
    if !fs::read_to_string(&stamp).is_ok_and(|there| there == text) {
        // What a break left, or other versions.
        let _ = fs::remove_dir_all(&place);
        let pip =
            "\"$1/bin/python\" -m pip install --quiet --retries 1 --only-binary :all: -r \"$2\"";
        let script = format!("python3 -m venv \"$1\" && timeout 300 {pip}");
        let made = Command::new("sh").args(["-c", &script, "sh"]).arg(&place).arg(&wanted).output();
        let made = made.expect("there is a shell");
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            let why = said.lines().rev().take(2).collect::<Vec<_>>().join(", ");
            skipped(&format!(
                "manifests of Kubernetes, because schemas cannot be had from PyPI: {why}; fix: apt-get install python3-venv, \
                 and a network"
            ));
            return None;
        }
        fs::write(&stamp, text).expect("it was just made");
    }
    let mut command = Command::new(program);
    command.arg(beside(name)).env_remove("PYTHONPATH");
    Some(command)
}

/// What `kubectl apply -k` would send, with these components, in a file of `directory`; `None`, said loudly, without kubectl.
pub(crate) fn rendered(folder: &Path, components: &[&str], directory: &Path) -> Option<PathBuf> {
    let copy = directory.join("kustomization");
    let _ = fs::remove_dir_all(&copy);
    must(Command::new("cp").arg("-r").arg(folder).arg(&copy));
    let file = copy.join("kustomization.yaml");
    let text = fs::read_to_string(&file).expect("it was copied");
    let with = text.replace("components: []", &format!("components: [{}]", components.join(", ")));
    assert!(components.is_empty() || with != text, "{file:?} has no place for components");
    fs::write(&file, with).expect("it is ours");
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(&copy).output() else {
        skipped(
            "manifests of Kubernetes, because kubectl is not there, which renders them; fix: install kubectl",
        );
        return None;
    };
    assert!(output.status.success(), "{}", text_of(&output));
    let rendered = directory.join(format!("rendered-{}.yaml", components.join("-")));
    fs::write(&rendered, &output.stdout).expect("it is ours");
    Some(rendered)
}

/// Its output, when it went well.
pub(crate) fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text_of(&output));
    text_of(&output)
}

/// All that it said.
pub(crate) fn text_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
