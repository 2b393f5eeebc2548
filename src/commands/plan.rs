//! `megaconn plan`: the plan as a table or as JSON.

use std::io::{self, Write};
use std::process::ExitCode;

use megaconn::base::cli_support;
use megaconn::base::units::{Endpoints, grouped};
use megaconn::host::rlimit;
use megaconn::observe::dump::Side;
use megaconn::plan::tuples::{TuplePlan, resolve_sources};
use megaconn::plan::{self, Demand};
use megaconn::runtime::memory_reserve;
use megaconn::walls::Have;
use megaconn::walls::doctor::text::wrapped;
use megaconn::walls::host::Host;
use megaconn::walls::reading::{self, Row, Standing};
use serde::Serialize;

use crate::commands::cli;

/// The answer of `megaconn plan`.
#[derive(Serialize)]
struct Plan {
    /// `megaconn.plan/1`.
    schema: &'static str,
    connections: u64,
    fits: bool,
    slots_per_segment: u64,
    /// Segments of one end.
    segments: u64,
    /// Limits that can be reckoned, the one that binds first at the top.
    rows: Vec<PlanRow>,
}

#[derive(Serialize)]
struct PlanRow {
    id: &'static str,
    unit: &'static str,
    /// `null` is no limit, or not to be read.
    have: Option<u64>,
    need: u64,
    /// `null` is no limit.
    allows_connections: Option<u64>,
    fits: bool,
    fix: String,
    /// For the text alone.
    #[serde(skip)]
    standing: Standing,
}

impl PlanRow {
    fn of(row: Row) -> Option<PlanRow> {
        let fits = row.fits();
        let fix: Vec<String> = row.fix.iter().map(ToString::to_string).collect();
        Some(PlanRow {
            id: row.id,
            unit: row.unit,
            have: match row.have {
                Have::Some(have) => Some(have),
                _ => None,
            },
            need: row.need?,
            allows_connections: row.allows_connections,
            fits,
            fix: fix.join("; or: "),
            standing: row.standing,
        })
    }
}

/// Exit status 0 when the plan fits, 1 when it does not, 2 when it cannot be made.
pub(crate) fn run(flags: &cli::Plan) -> ExitCode {
    match make(flags) {
        Ok(plan) => {
            let text = match flags.ways.format {
                cli::Format::Text => as_table(&plan),
                cli::Format::Json => match serde_json::to_string_pretty(&plan) {
                    Ok(json) => json + "\n",
                    Err(error) => return cli_support::refused(&error.to_string()),
                },
            };
            say(&text);
            if plan.fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => cli_support::refused(&reason),
    }
}

fn make(flags: &cli::Plan) -> Result<Plan, String> {
    let demand = demand(flags.connections, &flags.target, &flags.ways)?;
    let host = Host::read(rlimit::raise_nofile(), memory_reserve::bytes(Side::Client, None));
    let rows: Vec<PlanRow> =
        reading::rows(&host, &demand).into_iter().filter_map(PlanRow::of).collect();
    Ok(Plan {
        schema: "megaconn.plan/1",
        connections: demand.connections,
        fits: rows.iter().all(|row| row.fits),
        slots_per_segment: host.slots_per_segment,
        segments: host.segments(&demand),
        rows,
    })
}

/// What so many connections to `target` are made of, or why they cannot be.
pub(crate) fn demand(
    connections: u64,
    target: &[Endpoints],
    ways: &cli::Ways,
) -> Result<Demand, String> {
    let cores = ways.cores.resolve().map_err(|error| error.to_string())?.len();
    let targets: Vec<_> = target.iter().flat_map(|endpoints| endpoints.each()).collect();
    let range = ways.source_ports.map_or_else(plan::ephemeral_ports, |p| p.low..=p.high);
    let sources = resolve_sources(&ways.source, &targets).map_err(|error| error.to_string())?;
    let tuples = TuplePlan::new(targets.clone(), &sources, plan::usable_ports(range), cores)
        .map_err(|error| error.to_string())?;
    Ok(Demand::of_client(connections, &targets, tuples.capacity(), cores as u64))
}

fn as_table(plan: &Plan) -> String {
    let number = |n: Option<u64>| n.map_or("no limit".to_owned(), grouped);
    let mut text = format!(
        "{} connections: {} segments of {} slots on each end here\n\n\
         {:<4}  {:<17} {:<11} {:>20} {:>20} {:>20}\n",
        grouped(plan.connections),
        plan.segments,
        grouped(plan.slots_per_segment),
        "",
        "limit",
        "unit",
        "have",
        "need",
        "allows connections"
    );
    for row in &plan.rows {
        let (verdict, have) = match row.standing {
            Standing::Fail => ("FAIL", number(row.have)),
            Standing::Warn => ("WARN", number(row.have)),
            Standing::Unknown => ("?", "unknown".to_owned()),
            Standing::Ok | Standing::Unread => ("ok", number(row.have)),
        };
        text += &format!(
            "{verdict:<4}  {:<17} {:<11} {have:>20} {:>20} {:>20}\n",
            row.id,
            row.unit,
            grouped(row.need),
            number(row.allows_connections)
        );
        if !row.fits {
            text += &wrapped("      fix: ", &row.fix);
        }
    }
    let mut binding = plan.rows.iter().filter_map(|row| Some((row.id, row.allows_connections?)));
    if let Some((id, n)) = binding.next() {
        text += &format!("\nbinds first: {id} at {} connections\n", grouped(n));
    }
    if let Some((id, n)) = binding.next() {
        text += &format!("binds next:  {id} at {} connections\n", grouped(n));
    }
    text
}

/// Writes data; a reader that closed the pipe has what it wanted.
pub(crate) fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
