//! `megaconn plan`: the plan as a table or as JSON.

use std::io::{self, Write};
use std::process::ExitCode;

use megaconn::plan::tuples::{TuplePlan, resolve_sources};
use megaconn::plan::{self, Demand, Host, Plan};
use megaconn::rlimits;
use megaconn::units::grouped;
use megaconn::usage;

use crate::cli;

/// Exit status 0 when the plan fits, 1 when it does not, 2 when it cannot be made.
pub(crate) fn run(flags: &cli::Plan) -> ExitCode {
    match make(flags) {
        Ok(plan) => {
            let text = match flags.format {
                cli::Format::Text => as_table(&plan),
                cli::Format::Json => match serde_json::to_string_pretty(&plan) {
                    Ok(json) => json + "\n",
                    Err(error) => return usage::refused(&error.to_string()),
                },
            };
            // A reader that closed the pipe has what it wanted.
            let _ = io::stdout().write_all(text.as_bytes());
            if plan.fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => usage::refused(&reason),
    }
}

fn make(flags: &cli::Plan) -> Result<Plan, String> {
    let cpus = flags.cores.resolve().map_err(|error| error.to_string())?;
    let targets: Vec<_> = flags.target.iter().flat_map(|endpoints| endpoints.each()).collect();
    let range = flags.source_ports.map_or_else(plan::ephemeral_ports, |p| p.low..=p.high);
    let sources = resolve_sources(&flags.source, &targets).map_err(|error| error.to_string())?;
    let ends_here = plan::ends_here(&targets);
    let tuples = TuplePlan::new(targets, &sources, plan::usable_ports(range), cpus.len())
        .map_err(|error| error.to_string())?;
    let host = Host::read(rlimits::raise_nofile());
    let demand = Demand {
        connections: flags.connections,
        churn_tuples: 0,
        tuples: tuples.capacity(),
        cores: cpus.len() as u64,
        ends_here,
    };
    Ok(plan::plan(&demand, &host))
}

fn as_table(plan: &Plan) -> String {
    let number = |n: Option<u64>| n.map_or("no limit".to_owned(), grouped);
    let mut text = format!(
        "{} connections: {} segments of {} slots on each end here\n\n{:<4}  {:<13} {:<7} {:>24} {:>20} {:>20}\n",
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
        let verdict = if row.fits { "ok" } else { "FAIL" };
        text += &format!(
            "{verdict:<4}  {:<13} {:<7} {:>24} {:>20} {:>20}\n",
            row.id,
            row.unit,
            number(row.have),
            grouped(row.need),
            number(row.allows_connections)
        );
        if !row.fits {
            text += &format!("      fix: {}\n", row.fix);
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
