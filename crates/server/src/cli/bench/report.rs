//! What was measured, for people and for machines.

use serde_json::{Value, json};

use super::crowd;
use super::flow;
use super::histogram::Histogram;
use super::machine::Machine;
use super::quality;
use super::target::{ROOMCAST, SOCKETIO, UDP};
use super::ticks;

/// Every round of one target.
pub struct Rounds<T> {
    pub name: String,
    pub outcomes: Vec<T>,
}

impl flow::Outcome {
    /// CPU seconds per million deliveries, which is microseconds a delivery.
    pub fn cpu_each(&self) -> Option<f64> {
        let used = self.used?;
        Some(used.cpu.as_secs_f64() * 1e6 / self.deliveries.max(1) as f64)
    }
}

impl crowd::Outcome {
    /// CPU microseconds for a link to come and be ready.
    pub fn cpu_each(&self) -> Option<f64> {
        Some(self.cost?.opening_cpu.as_secs_f64() * 1e6 / self.connections as f64)
    }
}

/// The table of a flow, and the ratios to the floor if that was measured.
pub fn flow_table(all: &[Rounds<flow::Outcome>]) -> String {
    let head = [
        "target",
        "deliveries",
        "deliv/s",
        "CPU s/M deliv",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "bytes",
        "RSS MiB",
        "away ms/s",
        "longest ms",
        "waited ms/s",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Rounds { name, outcomes } in all {
        let latency = latency_of(outcomes.iter().map(|outcome| &outcome.latency));
        let micros = |share| format!("{:.0}", latency.quantile(share) as f64 / 1e3);
        rows.push(vec![
            name.clone(),
            outcomes.iter().map(|outcome| outcome.deliveries).sum::<u64>().to_string(),
            number(
                median(outcomes, |outcome| Some(outcome.deliveries as f64 / outcome.seconds)),
                0,
            ),
            number(median(outcomes, flow::Outcome::cpu_each), 3),
            micros(0.5),
            micros(0.99),
            micros(0.999),
            format!("{:.0}", latency.max() as f64 / 1e3),
            number(median(outcomes, |outcome| Some(outcome.event_len)), 0),
            number(median(outcomes, |outcome| Some(outcome.used?.rss_kib as f64 / 1024.0)), 1),
        ]);
        let machines: Vec<_> = outcomes.iter().map(|outcome| outcome.machine).collect();
        rows.last_mut().into_iter().for_each(|row| row.extend(machine_cells(&machines)));
    }
    let p99 = |outcome: &flow::Outcome| Some(outcome.latency.quantile(0.99) as f64);
    let cpu = ratios(all, "CPU per delivery", flow::Outcome::cpu_each);
    table(&rows) + &cpu + &ratios(all, "p99 latency", p99)
}

/// How quiet the machine was in some rounds: the median of what it was away and waited for, the
/// longest gap of all.
fn machine_cells(rounds: &[Machine]) -> [String; 3] {
    let longest = rounds.iter().map(|machine| machine.longest).max().unwrap_or_default();
    [
        number(median(rounds, |machine| Some(machine.away_ms_per_s)), 1),
        format!("{:.1}", longest.as_secs_f64() * 1e3),
        number(median(rounds, |machine| Some(machine.waited_ms_per_s)), 1),
    ]
}

/// Every round of rooms that tick, and what of them counts: the rounds share no state, so the best
/// says what the server can do, the median what it did on this machine, quiet or not.
fn ticks_rounds(outcomes: &[ticks::Outcome]) -> String {
    let head = [
        "round",
        "jitter p50 ms",
        "p99 ms",
        "max ms",
        "server p99 ms",
        "CPU %",
        "load CPU %",
        "away ms/s",
        "longest ms",
        "waited ms/s",
    ];
    let millis = |nanos: u64| format!("{:.2}", nanos as f64 / 1e6);
    let row = |(at, one): (usize, &ticks::Outcome)| {
        let figures = vec![
            (at + 1).to_string(),
            millis(one.jitter.quantile(0.5)),
            millis(one.jitter.quantile(0.99)),
            millis(one.jitter.max()),
            millis(one.late.quantile(0.99)),
            number(one.cpu_percent(), 1),
            number(Some(100.0 * one.load.as_secs_f64() / one.seconds), 1),
        ];
        [figures, machine_cells(&[one.machine]).to_vec()].concat()
    };
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
        .chain(outcomes.iter().enumerate().map(row))
        .collect();
    let p99 = |one: &ticks::Outcome| one.jitter.quantile(0.99) as f64 / 1e6;
    let best = outcomes.iter().map(p99).min_by(f64::total_cmp);
    let quiet: Vec<_> = outcomes.iter().filter(|one| one.machine.is_quiet()).cloned().collect();
    format!(
        "{}jitter p99 of rounds: median {} ms, best {} ms; of the {} quiet ones median {} ms\n",
        table(&rows),
        number(median(outcomes, |one| Some(p99(one))), 2),
        number(best, 2),
        quiet.len(),
        number(median(&quiet, |one| Some(p99(one))), 2),
    )
}

impl ticks::Outcome {
    /// Of one core.
    fn cpu_percent(&self) -> Option<f64> {
        Some(100.0 * self.used?.cpu.as_secs_f64() / self.seconds)
    }
}

/// The table of rooms that tick.
pub fn ticks_table(all: &[Rounds<ticks::Outcome>]) -> String {
    let head = [
        "target",
        "deliveries",
        "skipped",
        "jitter p50 ms",
        "p99 ms",
        "max ms",
        "server p99 ms",
        "max ms",
        "CPU %",
        "RSS MiB",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Rounds { name, outcomes } in all {
        let jitter = latency_of(outcomes.iter().map(|outcome| &outcome.jitter));
        let late = latency_of(outcomes.iter().map(|outcome| &outcome.late));
        let millis = |nanos: u64| format!("{:.2}", nanos as f64 / 1e6);
        rows.push(vec![
            name.clone(),
            outcomes.iter().map(|outcome| outcome.deliveries).sum::<u64>().to_string(),
            outcomes.iter().map(|outcome| outcome.skipped).sum::<u64>().to_string(),
            millis(jitter.quantile(0.5)),
            millis(jitter.quantile(0.99)),
            millis(jitter.max()),
            millis(late.quantile(0.99)),
            millis(late.max()),
            number(median(outcomes, ticks::Outcome::cpu_percent), 1),
            number(median(outcomes, |one| Some(one.used?.rss_kib as f64 / 1024.0)), 1),
        ]);
    }
    all.iter().fold(table(&rows), |text, one| text + "\n" + &ticks_rounds(&one.outcomes))
}

/// The same for machines.
pub fn ticks_json(all: &[Rounds<ticks::Outcome>]) -> Value {
    let round = |one: &ticks::Outcome| {
        json!({
            "seconds": one.seconds,
            "deliveries": one.deliveries,
            "skipped": one.skipped,
            "jitter_p50_ns": one.jitter.quantile(0.5),
            "jitter_p99_ns": one.jitter.quantile(0.99),
            "jitter_max_ns": one.jitter.max(),
            "late_p99_ns": one.late.quantile(0.99),
            "late_max_ns": one.late.max(),
            "cpu_s": one.used.map(|used| used.cpu.as_secs_f64()),
            "load_cpu_s": one.load.as_secs_f64(),
            "rss_kib": one.used.map(|used| used.rss_kib),
            "machine": one.machine.json(),
        })
    };
    let target = |one: &Rounds<ticks::Outcome>| {
        let rounds: Vec<_> = one.outcomes.iter().map(round).collect();
        json!({"name": one.name, "rounds": rounds})
    };
    let targets: Vec<_> = all.iter().map(target).collect();
    json!({"scenario": "ticks", "targets": targets})
}

/// The table of a bad link.
pub fn link_table(outcome: &quality::Outcome) -> String {
    let head =
        ["class", "wanted", "arrived %", "disorder", "p50 ms", "p99 ms", "max ms", "well again ms"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, class) in [("reliable", &outcome.reliable), ("unreliable", &outcome.unreliable)] {
        let millis = |nanos: u64| format!("{:.1}", nanos as f64 / 1e6);
        rows.push(vec![
            name.to_owned(),
            class.wanted.to_string(),
            format!("{:.2}", class.heard as f64 * 100.0 / class.wanted.max(1) as f64),
            class.disordered.to_string(),
            millis(class.latency.quantile(0.5)),
            millis(class.latency.quantile(0.99)),
            millis(class.latency.max()),
            number(class.well_again.map(|time| time.as_secs_f64() * 1e3), 0),
        ]);
    }
    let millis = |share| outcome.kept.quantile(share) as f64 / 1e6;
    let wanted = outcome.reliable.wanted + outcome.unreliable.wanted;
    format!(
        "{}the link kept what it let through {:.1} ms (p50), {:.1} (p99), {:.1} (p99.9)\n\
         the server sent {} packets, {:.2} for each event that was to be heard\n\
         the link carried {} packets, {} bytes, and lost {} packets; links or rooms lost: {}\n",
        table(&rows),
        millis(0.5),
        millis(0.99),
        millis(0.999),
        outcome.back,
        outcome.back as f64 / wanted.max(1) as f64,
        outcome.packets,
        outcome.bytes,
        outcome.lost,
        outcome.links_lost,
    )
}

/// How long what had to arrive took, against the program beside.
pub fn beside_line(outcome: &quality::Outcome, beside: &quality::Outcome) -> String {
    let ratio = |share| {
        let [ours, theirs] = [outcome, beside].map(|one| one.reliable.latency.quantile(share));
        ours as f64 / theirs.max(1) as f64
    };
    format!("reliable, of the program's: p50 {:.2}, p99 {:.2}", ratio(0.5), ratio(0.99))
}

/// The same for machines.
pub fn link_json(
    plan: &quality::Plan,
    outcome: &quality::Outcome,
    beside: Option<(&str, quality::Outcome)>,
) -> Value {
    let mut all = link_outcome_json(outcome);
    all["scenario"] = "link".into();
    all["transport"] = plan.scheme.as_str().into();
    all["members"] = plan.members.into();
    if let Some((program, outcome)) = beside {
        all["beside"] = link_outcome_json(&outcome);
        all["beside"]["program"] = program.into();
    }
    all
}

fn link_outcome_json(outcome: &quality::Outcome) -> Value {
    let class = |class: &quality::Class| {
        json!({
            "wanted": class.wanted,
            "heard": class.heard,
            "disordered": class.disordered,
            "latency_us": latency_json(&class.latency),
            "well_again_ms": class.well_again.map(|time| time.as_secs_f64() * 1e3),
        })
    };
    json!({
        "reliable": class(&outcome.reliable),
        "unreliable": class(&outcome.unreliable),
        "link_kept_us": latency_json(&outcome.kept),
        "packets_of_server": outcome.back,
        "links_lost": outcome.links_lost,
        "packets": outcome.packets,
        "bytes": outcome.bytes,
        "packets_lost": outcome.lost,
    })
}

/// The table of a connection storm.
pub fn storm_table(all: &[Rounds<crowd::Outcome>]) -> String {
    let head =
        ["target", "links", "links/s", "CPU µs/link", "links/CPU s", "p50 ms", "p99 ms", "max ms"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Rounds { name, outcomes } in all {
        let latency = latency_of(outcomes.iter().map(|outcome| &outcome.latency));
        let millis = |nanos: u64| format!("{:.2}", nanos as f64 / 1e6);
        let cpu = median(outcomes, crowd::Outcome::cpu_each);
        rows.push(vec![
            name.clone(),
            outcomes.iter().map(|outcome| outcome.connections).sum::<usize>().to_string(),
            number(
                median(outcomes, |outcome| Some(outcome.connections as f64 / outcome.seconds)),
                0,
            ),
            number(cpu, 1),
            number(cpu.map(|cpu| 1e6 / cpu), 0),
            millis(latency.quantile(0.5)),
            millis(latency.quantile(0.99)),
            millis(latency.max()),
        ]);
    }
    table(&rows) + &ratios(all, "CPU per link", crowd::Outcome::cpu_each)
}

/// The table of idle links.
pub fn idle_table(all: &[Rounds<crowd::Outcome>]) -> String {
    let head = [
        "target",
        "links",
        "RSS before KiB",
        "with KiB",
        "bytes/link",
        "after KiB",
        "idle CPU ms/s",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Rounds { name, outcomes } in all {
        let cost = |value: fn(&crowd::Cost) -> f64| {
            median(outcomes, |outcome| Some(value(&outcome.cost?)))
        };
        let each = |outcome: &crowd::Outcome| Some(outcome.cost?.bytes_each(outcome.connections));
        rows.push(vec![
            name.clone(),
            outcomes.first().map_or(0, |outcome| outcome.connections).to_string(),
            number(cost(|cost| cost.before_kib as f64), 0),
            number(cost(|cost| cost.with_kib as f64), 0),
            number(median(outcomes, each), 0),
            number(cost(|cost| cost.after_kib as f64), 0),
            number(cost(|cost| cost.idle_cpu.as_secs_f64() * 1e3 / cost.idle_seconds.max(1e-9)), 3),
        ]);
    }
    table(&rows)
}

pub fn flow_json(scenario: &str, all: &[Rounds<flow::Outcome>]) -> Value {
    let round = |outcome: &flow::Outcome| {
        json!({
            "seconds": outcome.seconds,
            "events": outcome.events,
            "deliveries": outcome.deliveries,
            "event_bytes": outcome.event_len,
            "cpu_s": outcome.used.map(|used| used.cpu.as_secs_f64()),
            "cpu_s_per_million_deliveries": outcome.cpu_each(),
            "rss_kib": outcome.used.map(|used| used.rss_kib),
            "latency_us": latency_json(&outcome.latency),
            "machine": outcome.machine.json(),
        })
    };
    rounds_json(scenario, all, round)
}

pub fn crowd_json(scenario: &str, all: &[Rounds<crowd::Outcome>]) -> Value {
    let round = |outcome: &crowd::Outcome| {
        json!({
            "connections": outcome.connections,
            "seconds": outcome.seconds,
            "cpu_us_per_connection": outcome.cpu_each(),
            "rss_before_kib": outcome.cost.map(|cost| cost.before_kib),
            "rss_with_kib": outcome.cost.map(|cost| cost.with_kib),
            "rss_after_kib": outcome.cost.map(|cost| cost.after_kib),
            "bytes_per_connection": outcome.cost.map(|cost| cost.bytes_each(outcome.connections)),
            "idle_cpu_s": outcome.cost.map(|cost| cost.idle_cpu.as_secs_f64()),
            "idle_seconds": outcome.cost.map(|cost| cost.idle_seconds),
            "latency_us": latency_json(&outcome.latency),
        })
    };
    rounds_json(scenario, all, round)
}

fn rounds_json<T>(scenario: &str, all: &[Rounds<T>], round: impl Fn(&T) -> Value) -> Value {
    let targets: Vec<_> = all
        .iter()
        .map(|rounds| {
            let outcomes: Vec<_> = rounds.outcomes.iter().map(&round).collect();
            json!({ "name": rounds.name, "rounds": outcomes })
        })
        .collect();
    json!({ "scenario": scenario, "targets": targets })
}

fn latency_json(latency: &Histogram) -> Value {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    json!({
        "p50": micros(latency.quantile(0.5)),
        "p99": micros(latency.quantile(0.99)),
        "p99_9": micros(latency.quantile(0.999)),
        "max": micros(latency.max()),
    })
}

/// Each target against the floor, Socket.IO against the native dialect, and UDP against WebSocket,
/// round by round: rounds that follow each other share the state of the machine, so the ratio is
/// steadier than either figure.
fn ratios<T>(all: &[Rounds<T>], what: &str, value: impl Fn(&T) -> Option<f64>) -> String {
    let find = |name: &str| all.iter().find(|rounds| rounds.name == name);
    let to_floor =
        all.iter().filter(|rounds| rounds.name != "floor").zip(find("floor").into_iter().cycle());
    let to_native = [SOCKETIO, UDP].into_iter().filter_map(find).zip(find(ROOMCAST));
    let mut text = String::new();
    for (rounds, base) in to_floor.chain(to_native) {
        let pairs = rounds.outcomes.iter().zip(&base.outcomes);
        let found: Option<Vec<f64>> =
            pairs.map(|(mine, base)| Some(value(mine)? / value(base)?)).collect();
        let Some(mut found) = found else { continue };
        // A round in which the machine was away has no deliveries.
        found.retain(|ratio| ratio.is_finite() && *ratio > 0.0);
        let list: Vec<_> = found.iter().map(|ratio| format!("{ratio:.3}")).collect();
        text += &format!(
            "{} / {}, {what}: {}  median {} ± {}\n",
            rounds.name,
            base.name,
            list.join(" "),
            number(median(&found, |&ratio| Some(ratio)), 3),
            number(error_of_median(&found), 3)
        );
    }
    text
}

fn latency_of<'a>(parts: impl Iterator<Item = &'a Histogram>) -> Histogram {
    let mut whole = Histogram::default();
    parts.for_each(|part| whole.merge(part));
    whole
}

fn median<T>(outcomes: &[T], value: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = outcomes.iter().filter_map(value).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) =
        (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// The standard error of a median. Taken from the median deviation, which a few wild rounds do not
/// move: for normally distributed values it is 0.6745 of a standard deviation, and the median is
/// 1.2533 times as uncertain as the mean.
fn error_of_median(values: &[f64]) -> Option<f64> {
    let middle = median(values, |&value| Some(value))?;
    let deviation = median(values, |value| Some((value - middle).abs()))?;
    Some(1.2533 / 0.6745 * deviation / (values.len() as f64).sqrt())
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                text += &format!("{cell:<width$}");
            } else {
                text += &format!("  {cell:>width$}");
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        let of = |values: &[f64]| median(values, |&value| Some(value));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(3.0));
        assert_eq!(of(&[4.0, 1.0]), Some(2.5));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn a_median_is_surer_the_more_rounds_there_are_and_a_wild_one_moves_it_little() {
        assert_eq!(error_of_median(&[]), None);
        assert_eq!(error_of_median(&[3.0]), Some(0.0));
        let near = [0.9, 1.0, 1.1, 0.8, 1.2];
        let few = error_of_median(&near).unwrap_or_default();
        let many = error_of_median(&near.repeat(4)).unwrap_or_default();
        assert!((few - 2.0 * many).abs() < 1e-9 && few > 0.0, "{few} {many}");
        let wild = error_of_median(&[0.9, 1.0, 1.1, 0.8, 99.0]).unwrap_or_default();
        assert!((wild - few).abs() < 1e-9, "{wild} {few}");
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let rounds = |name: &str, outcomes: &[f64]| Rounds {
            name: name.to_owned(),
            outcomes: outcomes.to_vec(),
        };
        let all = [rounds("roomcast", &[2.0, 9.0, 8.0]), rounds("floor", &[1.0, 6.0, 2.0])];
        let text = ratios(&all, "x", |&value| Some(value));
        assert_eq!(text, "roomcast / floor, x: 2.000 1.500 4.000  median 2.000 ± 0.536\n");
        let all = [rounds(SOCKETIO, &[3.0, 9.0]), rounds(ROOMCAST, &[2.0, 9.0])];
        let text = ratios(&all, "x", |&value| Some(value));
        assert_eq!(text, "socketio / roomcast, x: 1.500 1.000  median 1.250 ± 0.328\n");
    }
}
