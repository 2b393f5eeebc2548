//! The report of run directories: what is in them is in it, what is not is said, and nothing that
//! anybody may have written there is more than text.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fake_run::{FakeRun, doctor, environment, lines, result};
use megaconn::report::{self, ReportError};
use proptest::prelude::*;
use serde_json::{Value, json};

mod fake_run;

fn html_of(dirs: &[&Path]) -> Result<String, ReportError> {
    report::html(&dirs.iter().map(|dir| dir.to_path_buf()).collect::<Vec<PathBuf>>())
}

fn html(run: &FakeRun) -> String {
    html_of(&[run.path()]).unwrap()
}

/// The text of a page without its tags and its style.
fn text(html: &str) -> String {
    let body = html.split("</style>").nth(1).unwrap();
    body.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect()
}

#[test]
fn everything_that_is_in_a_run_directory_is_in_its_report() {
    let run = FakeRun::whole("first");
    let html = html(&run);
    let text = text(&html);
    for expected in [
        // The verdict first, with wall, side, evidence, fix and how sure.
        "Missed: 98,679 of 100,000 connections established, 679 (ECONNRESET 679) failed, \
         1,321 (reset 1,321) lost",
        "1,321 connections lost, 0 allowed",
        "Wall: server-full at the server (certain): 1,321 lost to it",
        "server: refused_total 0 -&gt; 2,000",
        "serve --max-connections 5000",
        "What else it could have been (1)accept-queue: not so",
        "Wall: client-lag",
        "Met without losstw-buckets",
        "Next wall, by arithmetic: memory at 2,679,801 connections",
        // Tiles, plateaus, cost.
        "8,342 B ± 9",
        "76,543",
        "200.0k/s",
        "EADDRNOTAVAIL 1",
        "TCP socket5,0418.54.3 MiB0.99999",
        "Both ends are on this host",
        "Others on this host had 45,761 sockets more",
        "By slab cache: TCP 5,041, dentry 390.",
        // The doctor, the host, the command, notes.
        "tw-bucketswarnwhat it limits131,072500,000sockets–",
        "file-maxokwhat it limitsno limit",
        "Shows only when it is met: middlebox-idle.",
        "Linux 6.18.44 x86_64",
        "23.5 GiB, 22.9 GiB available",
        "287901 383869 575802",
        r"megaconn-client run --target 127.0.0.1:7000 'it'\''s'",
        "plateaus.pushes.missingwithout --push-every nothing tells",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    let verdict_at = html.find("class=\"verdict missed\"").unwrap();
    assert!(verdict_at < html.find("<svg").unwrap(), "the verdict comes first");
    assert_eq!(html.matches("class=\"plot\"").count(), 10, "one drawing for each chart");
    assert!(!text.contains("Not measured") && !text.contains("Missing in the run directory"));
    for layer in ["TCP socket", "inode", "file (filp)", "dentry", "io_uring", "server process"] {
        let legend = html.split("Memory of a connection").nth(1).unwrap();
        assert!(legend.split("</ul>").next().unwrap().contains(layer), "no {layer} in the legend");
    }
}

#[test]
fn it_needs_nothing_but_itself() {
    let run = FakeRun::whole("first");
    let html = html(&run);
    for outside in
        ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "://"]
    {
        assert!(!html.contains(outside), "{outside} in the report");
    }
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("@media print"));
    let opened = html.matches("<svg").count();
    assert!(opened > 6 && opened == html.matches("</svg>").count());
}

const EVIL: &str = "<script>alert('x')</script>&\"";

/// Every text of `value` becomes [`EVIL`], but for what decides how it is read.
fn with_evil_texts(value: &Value, key: &str) -> Value {
    match value {
        Value::String(_) if ["schema", "side", "verdict"].contains(&key) => value.clone(),
        Value::String(_) => EVIL.into(),
        Value::Array(items) => items.iter().map(|item| with_evil_texts(item, key)).collect(),
        Value::Object(fields) => {
            let evil = |(key, value): (&String, &Value)| (key.clone(), with_evil_texts(value, key));
            fields.iter().map(evil).collect()
        }
        _ => value.clone(),
    }
}

#[test]
fn no_text_of_a_file_is_more_than_text() {
    // A path has no slashes in its parts.
    let run = FakeRun::whole("<script>alert('x')<&\"");
    let mut evil_result = with_evil_texts(&result(), "");
    for names in ["/failed", "/lost", "/plateaus/0/failed", "/cost_per_connection/by_slab"] {
        evil_result.pointer_mut(names).unwrap()[EVIL] = json!(7);
    }
    evil_result["notes"][EVIL] = EVIL.into();
    evil_result["cost_per_connection"]["fit"]["by_layer"][EVIL] = json!({ "slope_bytes": 1 });
    let mut evil_environment = with_evil_texts(&environment(), "");
    evil_environment["sysctls"][EVIL] = EVIL.into();
    evil_environment["limits"][EVIL] = EVIL.into();
    let mut evil_doctor = with_evil_texts(&doctor(), "");
    evil_doctor["rows"][0]["verdict"] = EVIL.into();
    run.write("result.json", &evil_result.to_string());
    run.write("environment.json", &evil_environment.to_string());
    run.write("doctor.json", &evil_doctor.to_string());
    let other = FakeRun::whole("second");
    other.write("doctor.json", &json!({ "schema": EVIL }).to_string());
    for html in [html(&run), html(&other), html_of(&[run.path(), other.path()]).unwrap()] {
        assert!(!html.contains("<script") && !html.contains("alert('x')\""), "{html}");
        assert!(html.matches("&lt;script&gt;").count() > 0, "the texts are shown");
    }
    let shown = html(&run).matches("&lt;script&gt;alert").count();
    assert!(shown > 35, "only {shown} of the texts are shown");
}

#[test]
fn runs_are_laid_side_by_side_with_ratios() {
    let (first, second) = (FakeRun::whole("first"), FakeRun::whole("second"));
    let mut faster = result();
    faster["plateaus"][2]["connect"]["rate_per_s"] = json!(300_000.75);
    faster["plateaus"][2]["messages"]["latency_us"] = Value::Null;
    second.write("result.json", &faster.to_string());
    let html = html_of(&[first.path(), second.path()]).unwrap();
    let text = text(&html);
    assert!(text.contains("connect rate200.0k/s300.0k/s ×1.50"), "{text}");
    assert!(text.contains("message latency p5043 us– "), "what one lacks is a dash: {text}");
    assert!(text.contains("Message latency, first") && text.contains("Message latency, second"));
    assert_eq!(html.matches("class=\"plot\"").count(), 20);
    assert!(text.contains("connect p99, worst phase1.36 ms1.36 ms ×1.00"), "{text}");
    // Directories of one name are told apart by their paths.
    let namesake = FakeRun::whole("first");
    let html = html_of(&[first.path(), namesake.path()]).unwrap();
    assert!(html.contains(&namesake.path().display().to_string()));
}

#[test]
fn what_is_missing_is_said() {
    let run = FakeRun::whole("first");
    let said = |html: &str, what: &str| assert!(text(html).contains(what), "{what:?}: {html}");
    run.remove("doctor.json");
    said(&html(&run), "doctor.json is not there");
    run.write("environment.json", "{\"schema\": \"megaconn.environ");
    said(&html(&run), "environment.json is not whole (EOF while parsing a string");
    run.write("environment.json", &json!({ "schema": "megaconn.environment/2" }).to_string());
    said(&html(&run), "environment.json is of another schema, &quot;megaconn.environment/2&quot;");
    run.write("doctor.json", "[]");
    said(&html(&run), "doctor.json has no schema");
    run.write("client.ndjson", "");
    said(&html(&run), "client.ndjson is empty");
    let cut = lines("client", 2) + "{\"schema\": \"megaconn.core/1\", \"side\": \"cli";
    run.write("client.ndjson", &(cut + "\n{\"schema\": \"megaconn.core/2\"}\n\u{fffd}\n"));
    said(&html(&run), "client.ndjson has 3 lines that are not whole or of another schema");
    run.remove("result.json");
    fs::create_dir(run.path().join("result.json")).unwrap();
    let html = html(&run);
    said(&html, "result.json is no regular file");
    said(&html, "No verdict");
    assert_eq!(html.matches("class=\"plot\"").count(), 6, "dumps have connections, rate, latency");
}

#[test]
fn a_directory_without_a_run_is_an_error() {
    let empty = FakeRun::empty("empty");
    let error = html_of(&[empty.path()]).unwrap_err().to_string();
    let lacks = "result.json is not there, environment.json is not there, doctor.json is not there, \
                 client.ndjson is not there, server.ndjson is not there";
    assert!(error.contains(lacks) && error.contains("; fix: "), "{error}");
    empty.write("result.json", "{\"schema\": \"megaconn.result/1\", \"established\": NaN}");
    let error = html_of(&[empty.path()]).unwrap_err().to_string();
    assert!(error.contains("result.json is not whole (expected value at line 1"), "{error}");
    let whole = FakeRun::whole("first");
    whole.write("result.json", "{\"schema\": \"megaconn.result/2\"}");
    let error = html_of(&[whole.path()]).unwrap_err().to_string();
    assert!(
        error.contains("its schema is \"megaconn.result/2\", and this version reads"),
        "{error}"
    );
    assert!(matches!(html_of(&[&whole.path().join("none")]), Err(ReportError::Directory(..))));
    assert!(matches!(
        html_of(&[&whole.path().join("doctor.json")]),
        Err(ReportError::Directory(..))
    ));
}

#[test]
fn a_run_with_nothing_in_it_is_reported() {
    let run = FakeRun::empty("first");
    run.write("result.json", "{\"schema\": \"megaconn.result/1\"}");
    let text = text(&html(&run));
    assert!(text.contains("an unknown number of an unknown number connections"), "{text}");
    assert!(text.contains("Not measured: no plateau was reached."), "{text}");
    // Churn alone holds nothing.
    let mut churn = result();
    churn["target_connections"] = json!(0);
    churn["plateaus"] = json!([churn["plateaus"][0]]);
    for key in ["connections", "established"] {
        churn["plateaus"][0][key] = json!(0);
    }
    churn["per_core"] = json!([]);
    churn["cost_per_connection"]["fit"] = Value::Null;
    run.write("result.json", &churn.to_string());
    let html = html(&run);
    assert!(html.contains("Memory of a connection (no plateau was held long enough"), "{html}");
    assert!(html.contains("No connection was held, so none has a cost."), "{html}");
    assert!(html.contains("601 of 602 short connections completed"), "{html}");
}

#[test]
fn many_cores_are_a_least_a_median_and_a_most() {
    let run = FakeRun::whole("first");
    run.write("server.ndjson", &lines("server", 64));
    let html = html(&run);
    assert!(html.contains("server, median of 64 cores") && html.contains("client 1"), "{html}");
    assert!(!html.contains("server 1"), "no line for each of 64");
}

#[test]
fn lines_of_another_run_of_the_server_are_left_out() {
    let run = FakeRun::whole("first");
    let earlier = lines("server", 2).replace("\"at_ms\":1795", "\"at_ms\":1794");
    run.write("server.ndjson", &(earlier + &lines("server", 2)));
    assert_eq!(html(&run), html(&FakeRun::whole("first")), "only this run's lines count");
    // Nor do those that an earlier client left in the same directory.
    run.write("client.ndjson", &lines("client", 2).replace("\"at_ms\":1795", "\"at_ms\":1794"));
    let text = text(&html(&run));
    assert!(text.contains("client.ndjson has no whole line of this run"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A file may be cut anywhere.
    #[test]
    fn half_written_files_are_no_panic(
        file in prop::sample::select(FILES.to_vec()), permille in 0..1_000_usize
    ) {
        let run = FakeRun::whole("first");
        let path = run.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() * permille / 1_000);
        // A file of lines that ends with one of them is whole, as far as anybody can tell.
        prop_assume!(bytes.is_empty() || !file.ends_with("ndjson") || !b"}\n".contains(bytes.last().unwrap()));
        fs::write(&path, bytes).unwrap();
        let text = text(&html(&run));
        prop_assert!(text.contains(file), "{} is not said to be short: {}", file, text);
    }

    /// Any value may be anything.
    #[test]
    fn values_that_cannot_be_are_no_panic(
        file in prop::sample::select(FILES[..3].to_vec()), at in 0..600_usize,
        value in prop::sample::select(WRONG.to_vec())
    ) {
        let run = FakeRun::whole("first");
        let path = run.path().join(file);
        let mut whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        let places = places(&whole);
        *whole.pointer_mut(&places[at % places.len()]).unwrap() = value;
        fs::write(&path, whole.to_string()).unwrap();
        let html = html(&run);
        for none in ["NaN", "inf<", "inf "] {
            prop_assert!(!html.contains(none), "{} by {} in {}", none, places[at % places.len()], html);
        }
    }
}

const FILES: [&str; 6] = [
    "result.json",
    "environment.json",
    "doctor.json",
    "client.ndjson",
    "server.ndjson",
    "bystanders.ndjson",
];

const WRONG: [&str; 14] = [
    "null",
    "true",
    "\"\"",
    "\"7\"",
    "[]",
    "{}",
    "[[[]]]",
    "{\"a\": {}}",
    "-1",
    "0",
    "1e308",
    "5e-324",
    "18446744073709551615",
    "-0.5",
];

/// Pointers to every value but the schema.
fn places(value: &Value) -> Vec<String> {
    let below = |key: &str, value: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        let deeper = places(value).into_iter().map(|place| format!("/{key}{place}"));
        [format!("/{key}")].into_iter().chain(deeper).collect::<Vec<_>>()
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "schema")
            .flat_map(|(key, value)| below(key, value))
            .collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(i, item)| below(&i.to_string(), item)).collect()
        }
        _ => Vec::new(),
    }
}

fn megaconn(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_megaconn"));
    command.arg("report").args(arguments).output().unwrap()
}

#[test]
fn the_command_writes_a_file_or_says_why_not() {
    let run = FakeRun::whole("first");
    let done = megaconn(&[run.path()]);
    let file = run.path().join("report.html");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stderr), format!("report={}\n", file.display()));
    assert_eq!(fs::read_to_string(&file).unwrap(), html(&run));
    let to_stdout = megaconn(&[run.path(), run.path(), Path::new("--out"), Path::new("-")]);
    assert!(to_stdout.status.success() && to_stdout.stdout.starts_with(b"<!DOCTYPE html>"));

    let missing = run.path().join("none");
    let nowhere = missing.join("x.html");
    let broken = FakeRun::empty("broken");
    broken.write("result.json", "{");
    for arguments in [
        vec![missing.as_path()],
        vec![broken.path()],
        vec![run.path(), broken.path()],
        vec![run.path(), Path::new("--out"), &nowhere],
        vec![],
    ] {
        let refused = megaconn(&arguments);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains("; fix: "), "{said}");
        assert_eq!(said.lines().count(), 1, "one line: {said}");
        assert!(refused.stdout.is_empty());
    }
}

#[test]
fn a_directory_that_may_not_be_read_is_an_error() {
    let run = FakeRun::whole("first");
    fs::set_permissions(run.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let read = html_of(&[run.path()]);
    fs::set_permissions(run.path(), fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a directory that may not be read, because root may read everything");
        return;
    }
    let error = read.unwrap_err().to_string();
    assert!(error.contains("Permission denied") && error.contains("; fix: "), "{error}");
}
