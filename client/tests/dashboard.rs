//! The Grafana dashboard, against what both programs give at their metrics addresses: whatever it asks
//! for must be there, by the same name and with the same labels. And both, as Prometheus reads them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use common::{Program, Server, client, cores, number, scrape, server_binary, until};
use serde_json::{Value, json};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Labels that Prometheus itself puts to every sample.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// Words of the query language that are followed by labels in parentheses.
const TAKE_LABELS: [&str; 5] = ["by", "without", "on", "ignoring", "group_left"];

/// What a server and a client say. The client's target goes away after its first look, because an
/// error has a metric only once it was met: its connections and its short ones are all refused.
fn texts() -> [String; 2] {
    let flags = ["--cores", &cores(2), "--metrics", "127.0.0.1:0"];
    let server = Server::start(&server_binary(), Ipv4Addr::LOCALHOST.into(), 1, &flags);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.accept().is_ok());
    let plan = ["--connections", "5", "--churn", "50/s", "--hold", "10m"];
    let where_to = ["run", "--target", &target, "--cores", &cores(2), "--metrics", "127.0.0.1:0"];
    let mut client = Program::start(&mut client(&[&where_to[..], &plan].concat()));
    assert!(client.says("metrics=http://"), "{:#?}", client.finish());
    let mut of_client = String::new();
    until("both kinds of connections have failed", || {
        of_client = scrape(client.metrics());
        ["failed", "churn_errors"]
            .iter()
            .all(|name| of_client.contains(&format!("\nmegaconn_{name}_total{{")))
    });
    [scrape(server.program.metrics()), of_client]
}

/// The labels that all samples of a metric have, by its name.
fn labels(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').unwrap();
        let (inside, _) = rest.rsplit_once("\"} ").unwrap();
        let of_line: BTreeSet<&str> =
            inside.split("\",").map(|label| label.split_once('=').unwrap().0).collect();
        let of_all = labels.entry(name).or_insert_with(|| of_line.clone());
        of_all.retain(|label| of_line.contains(label));
    }
    labels
}

fn dashboard() -> Value {
    let path = "../bench-scripts/grafana/megaconn.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Something that the dashboard asks for.
struct Query {
    /// Panel or variable.
    place: String,
    expression: String,
    /// Labels by which its answers are told apart.
    shown: Vec<String>,
}

fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let legend = text(&target["legendFormat"]);
            let shown = legend.split("{{").skip(1).map(|rest| rest.split_once("}}").unwrap().0);
            let shown = shown.map(str::to_owned).collect();
            let (place, expression) = (text(&panel["title"]), text(&target["expr"]));
            queries.push(Query { place, expression, shown });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = text(&variable["query"]["query"]);
        let values = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        if let Some((metric, label)) = values.and_then(|values| values.rsplit_once(", ")) {
            // What PromQL has for it.
            let expression = format!("count by ({label}) ({metric})");
            let (place, shown) = (text(&variable["name"]), vec![label.to_owned()]);
            queries.push(Query { place, expression, shown });
        }
    }
    assert!(queries.len() > 50, "the dashboard has only {} queries", queries.len());
    queries
}

/// What stands in an expression.
#[derive(Default)]
struct Asked<'a> {
    /// Metrics, and the labels they are chosen by.
    metrics: Vec<(&'a str, Vec<&'a str>)>,
    /// Labels that the answers keep.
    kept: BTreeSet<&'a str>,
}

impl<'a> Asked<'a> {
    /// A word that is neither a function nor a label is a metric.
    fn by(expression: &'a str) -> Asked<'a> {
        let words = words(expression);
        let mut asked = Asked::default();
        let mut end_of_labels = "";
        for (index, word) in words.iter().copied().enumerate() {
            let next = words.get(index + 1).copied().unwrap_or_default();
            match word {
                "(" => {}
                "{" => end_of_labels = "}",
                ")" | "}" => end_of_labels = "",
                _ if TAKE_LABELS.contains(&word) => end_of_labels = ")",
                _ if end_of_labels == "}" => asked.metrics.last_mut().unwrap().1.push(word),
                _ if end_of_labels == ")" => drop(asked.kept.insert(word)),
                _ if next == "(" || TAKE_LABELS.contains(&next) => {}
                _ => asked.metrics.push((word, Vec::new())),
            }
        }
        asked
    }
}

/// Words and brackets of an expression, without its strings, ranges, numbers and operators.
fn words(mut rest: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').unwrap() + 2,
            '[' => rest.find(']').unwrap() + 1,
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        rest = behind;
        if first.is_ascii_alphabetic() || "(){}".contains(first) {
            words.push(word);
        }
    }
    words
}

#[test]
fn all_that_the_dashboard_asks_for_is_there() {
    let texts = texts().concat();
    let there = labels(&texts);
    for Query { place, expression, shown } in queries() {
        let asked = Asked::by(&expression);
        assert!(!asked.metrics.is_empty(), "{place} asks for nothing: {expression}");
        for (metric, chosen_by) in asked.metrics {
            let labels = there.get(metric);
            let labels = labels.unwrap_or_else(|| panic!("{place}: nobody gives {metric}"));
            for label in asked.kept.iter().chain(&chosen_by) {
                let is_there = labels.contains(label) || OF_PROMETHEUS.contains(label);
                assert!(is_there, "{place}: {metric} has no label {label}, only {labels:?}");
            }
        }
        for label in shown {
            assert!(asked.kept.contains(&*label), "{place} shows {label}: {expression}");
        }
    }
}

#[test]
fn every_panel_has_its_place_its_unit_and_its_meaning() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(number(panel, "id")), "{title} has the number of another panel");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| number(&panel["gridPos"], key));
        // Grafana's grid is 24 wide.
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is beside the grid");
        let mut cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(cells.all(|cell| taken.insert(cell)), "{title} lies over another panel");
        if panel["type"] != "row" {
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            assert!(unit.is_some_and(|unit| !unit.is_empty()), "{title} has no unit");
            let meaning = panel["description"].as_str();
            assert!(meaning.is_some_and(|text| text.ends_with('.')), "{title} says nothing");
        }
    }
}

/// Runs `promtool` in `directory` and gives what it has to say.
fn promtool(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("promtool").current_dir(directory).args(arguments).output().unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {}", words(&output.stderr));
    words(&output.stdout)
}

#[test]
fn prometheus_itself_can_read_both_programs_and_the_dashboard() {
    if Command::new("promtool").arg("--version").output().is_err() {
        let fix = "apt-get install prometheus";
        return eprintln!("SKIPPED: promtool is not there to read metrics and dashboard ({fix})");
    }
    let directory = tempfile::tempdir().unwrap();
    let write = |name, text: &str| fs::write(directory.path().join(name), text).unwrap();
    for text in texts() {
        // `promtool check metrics` knows only the older form of the text. What imports into a
        // database reads this one, if each sample says of when it is.
        let (comments, samples): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('#'));
        assert_eq!(comments.last(), Some(&"# EOF"));
        let line = |line: &str| if line.starts_with('#') { "\n" } else { " 1700000000\n" };
        let timed: Vec<String> = text.lines().map(|l| format!("{l}{}", line(l))).collect();
        write("metrics", &timed.concat());
        let import = ["tsdb", "create-blocks-from", "openmetrics", "metrics", "data"];
        let table = promtool(directory.path(), &import);
        let imported = table.lines().last().unwrap().split_whitespace().nth(4).unwrap();
        assert_eq!(imported, samples.len().to_string(), "{table}");
    }
    let rule = |(n, query): (usize, Query)| {
        let expression = query.expression.replace("$__rate_interval", "1m");
        json!({ "record": format!("query:{n}"), "expr": expression })
    };
    let rules: Vec<Value> = queries().into_iter().enumerate().map(rule).collect();
    // All JSON is YAML.
    write("rules", &json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string());
    promtool(directory.path(), &["check", "rules", "rules"]);
}
