//! The report on a store, for people.

use crate::{
    model::time::format_duration_ms,
    stdx::size::format_bytes,
    store::{LabelCount, StorageReport},
};
use std::fmt::Write;
use time::OffsetDateTime;

/// The whole report as text.
pub fn print(report: &StorageReport) -> String {
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = summary(&mut out, report);
    let _ = blocks(&mut out, report);
    let _ = windows(&mut out, report);
    let _ = tops(&mut out, report);
    let _ = damage(&mut out, report);
    out
}

fn summary(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    let bytes: u64 = report.blocks.iter().map(|block| block.bytes).sum();
    let samples: u64 = report.blocks.iter().map(|block| block.samples).sum();
    let each = if samples == 0 { 0.0 } else { bytes as f64 / samples as f64 };
    let count = report.blocks.len();
    writeln!(out, "data        {}", report.directory)?;
    writeln!(out, "blocks      {count}, {}, {samples} samples, {each:.2} bytes each", format_bytes(bytes))?;
    tiers(out, report)?;
    if report.kept.files > 0 {
        let kept = &report.kept;
        let from = kept.oldest_ms.map_or_else(String::new, |oldest_ms| format!(", from {}", moment(oldest_ms)));
        let (files, bytes, samples) = (kept.files, format_bytes(kept.bytes), kept.samples);
        writeln!(out, "kept longer {files} files, {bytes}, {samples} samples{from}, by `storage.policies`")?;
    }
    let head = &report.head;
    let held: u64 = head.windows.iter().map(|window| window.bytes).sum();
    let (windows, series) = (head.windows.len(), head.series);
    writeln!(out, "memory      {series} series, {windows} windows, {}", format_bytes(held))?;
    if head.windows_waiting > 0 {
        writeln!(out, "            {} windows could not be written yet", head.windows_waiting)?;
    }
    let log = &report.log;
    writeln!(
        out,
        "log         {} in {} segments, {} spare",
        format_bytes(log.bytes),
        log.segments,
        log.spare_segments
    )?;
    if let Some(error) = &log.last_error {
        writeln!(out, "            last failure: {error}")?;
    }
    let disk = &report.disk;
    let (free, total, floor) =
        (format_bytes(disk.free_bytes), format_bytes(disk.total_bytes), format_bytes(disk.floor_bytes));
    let full = if disk.full { "; FULL: writes are refused until there is room" } else { "" };
    writeln!(out, "disk        {free} free of {total}, {floor} are kept free{full}")?;
    retention(out, report)?;
    let compaction = &report.compaction;
    let written = format_bytes(compaction.bytes_written);
    let running = match &compaction.running {
        Some(merge) => format!(", running: {} of {} series", merge.series_done, merge.series_total),
        None if compaction.postponed => ", waiting for free disk".to_owned(),
        None => String::new(),
    };
    let (merges, failures, tiers) = (compaction.merges, compaction.failures, compaction.tiers_built);
    writeln!(
        out,
        "compaction  {merges} merges, {tiers} stretches built into tiers, {failures} failed, {written} written since the start{running}"
    )
}

fn tiers(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    for tier in &report.tiers {
        let (resolution, kept) = (format_duration_ms(tier.resolution_ms), format_duration_ms(tier.time_ms));
        let (files, bytes, values) = (tier.files, format_bytes(tier.bytes), tier.values);
        let from = tier.oldest_ms.map_or_else(String::new, |oldest_ms| format!(", from {}", moment(oldest_ms)));
        write!(out, "tier {resolution:6} {files} files, {bytes}, {values} values{from}, kept {kept}")?;
        match tier.lacks_from_ms {
            Some(next_ms) => writeln!(out, "; next is what begins on {}", moment(next_ms))?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

fn retention(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    let retention = &report.retention;
    let allowed = retention.allowed_bytes.map_or_else(|| "no limit".to_owned(), format_bytes);
    let (time, used) = (format_duration_ms(retention.time_ms), format_bytes(retention.used_bytes));
    writeln!(out, "retention   {time}; {used} used of {allowed}")?;
    let (by_time, by_size) = (retention.dropped_by_time, retention.dropped_by_size);
    if by_time + by_size > 0 {
        writeln!(out, "            {by_time} blocks went for their age and {by_size} for room since the start")?;
    }
    let Some(next) = &retention.next else { return Ok(()) };
    let room = next.bytes_left.map_or_else(String::new, |bytes| format!(", or {} from now", format_bytes(bytes)));
    let (from, to) = (moment(next.oldest_ms), moment(next.newest_ms));
    let (bytes, when) = (format_bytes(next.bytes), moment(next.expires_ms));
    writeln!(out, "            next: {from} to {to}, {bytes}, goes on {when}{room}")
}

fn blocks(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    let rows = report.blocks.iter().map(|block| {
        vec![
            moment(block.oldest_ms),
            moment(block.newest_ms),
            block.level.to_string(),
            block.series.to_string(),
            block.samples.to_string(),
            format_bytes(block.bytes),
            format!("{:.2}", block.bytes_per_sample),
            block.file.clone(),
        ]
    });
    let header = ["BLOCK FROM", "TO (UTC)", "LEVEL", "SERIES", "SAMPLES", "SIZE", "BYTES/SAMPLE", "FILE"];
    table(out, &header, rows.collect())
}

fn windows(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    let rows = report.head.windows.iter().map(|window| {
        let quiet = format_duration_ms(report.now_ms.saturating_sub(window.touched_ms).max(0) / 1000 * 1000);
        vec![
            moment(window.start_ms),
            moment(window.start_ms.saturating_add(window.span_ms)),
            window.columns.to_string(),
            format_bytes(window.bytes),
            format!("{quiet} ago"),
        ]
    });
    table(out, &["WINDOW FROM", "TO (UTC)", "SERIES", "MEMORY", "LAST SAMPLE"], rows.collect())
}

fn tops(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    let top = &report.top;
    let size = |count: &LabelCount| vec![count.name.clone(), format_bytes(count.value)];
    let number = |count: &LabelCount| vec![count.name.clone(), count.value.to_string()];
    table(out, &["METRIC", "SIZE IN BLOCKS"], top.bytes_by_metric.iter().map(size).collect())?;
    table(out, &["LABEL", "SIZE IN BLOCKS"], top.bytes_by_label.iter().map(size).collect())?;
    table(out, &["METRIC", "SERIES IN MEMORY"], top.series_by_metric.iter().map(number).collect())?;
    table(out, &["LABEL", "SERIES IN MEMORY"], top.series_by_label.iter().map(number).collect())?;
    table(out, &["LABEL NAME", "VALUES IN MEMORY"], top.values_by_label.iter().map(number).collect())
}

fn damage(out: &mut String, report: &StorageReport) -> std::fmt::Result {
    let damage = &report.damage;
    if damage.met == 0 && damage.unserved.is_empty() {
        return writeln!(out, "\ndamage      none was met");
    }
    writeln!(out, "\ndamage      {} met since the start; everything else is served", damage.met)?;
    if damage.log_records > 0 {
        let bytes = format_bytes(damage.log_bytes);
        writeln!(out, "  log: {} places are lost, {bytes}; other records are not affected", damage.log_records)?;
    }
    for block in &damage.blocks {
        writeln!(out, "  {}: samples of {} series are lost; bring it back from a backup", block.name, block.value)?;
    }
    for file in &damage.unserved {
        writeln!(out, "  {} ({}): {}", file.file, format_bytes(file.bytes), file.problem)?;
        writeln!(out, "    {}", file.advice)?;
    }
    Ok(())
}

/// A blank line, the header and the rows, in columns; nothing where there are no rows.
fn table(out: &mut String, header: &[&str], rows: Vec<Vec<String>>) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&header]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    writeln!(out)?;
    for row in std::iter::once(&header).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ")?;
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Milliseconds since the epoch as a time of day in UTC.
fn moment(ms: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else {
        return format!("{ms} ms");
    };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::upkeep::{BlockReport, NextDrop, Unserved, WindowReport};

    #[test]
    fn a_report_is_printed_as_tables() {
        const DAY_MS: i64 = 86_400_000;
        let mut report = StorageReport { directory: "/data".to_owned(), now_ms: 20 * DAY_MS, ..Default::default() };
        report.blocks.push(BlockReport {
            file: "a.block".to_owned(),
            oldest_ms: 18 * DAY_MS,
            newest_ms: 19 * DAY_MS,
            level: 2,
            series: 10,
            samples: 2048,
            bytes: 1536,
            bytes_per_sample: 0.75,
            ..Default::default()
        });
        report.head.windows.push(WindowReport {
            start_ms: 20 * DAY_MS - 7_200_000,
            span_ms: 7_200_000,
            columns: 10,
            bytes: 2048,
            touched_ms: 20 * DAY_MS - 5_000,
        });
        report.retention.time_ms = 30 * DAY_MS;
        report.tiers.push(crate::store::upkeep::TierReport {
            resolution_ms: 300_000,
            time_ms: 120 * DAY_MS,
            files: 3,
            bytes: 4096,
            values: 100,
            oldest_ms: Some(5 * DAY_MS),
            newest_ms: Some(15 * DAY_MS),
            lacks_from_ms: Some(15 * DAY_MS),
        });
        report.retention.next = Some(NextDrop {
            oldest_ms: 18 * DAY_MS,
            newest_ms: 19 * DAY_MS,
            bytes: 1536,
            expires_ms: 49 * DAY_MS,
            bytes_left: Some(1 << 30),
            ..Default::default()
        });
        report.top.bytes_by_metric.push(LabelCount { name: "up".to_owned(), value: 1024 });
        report.damage.met = 1;
        report.damage.unserved.push(Unserved {
            file: "/data/blocks/b.block".to_owned(),
            bytes: 10,
            problem: "it is no whole block".to_owned(),
            advice: "bring it back".to_owned(),
        });
        insta::assert_snapshot!(super::print(&report), @"
        data        /data
        blocks      1, 1.5 KiB, 2048 samples, 0.75 bytes each
        tier 5m     3 files, 4 KiB, 100 values, from 1970-01-06 00:00, kept 120d; next is what begins on 1970-01-16 00:00
        memory      0 series, 1 windows, 2 KiB
        log         0 B in 0 segments, 0 spare
        disk        0 B free of 0 B, 0 B are kept free
        retention   30d; 0 B used of no limit
                    next: 1970-01-19 00:00 to 1970-01-20 00:00, 1.5 KiB, goes on 1970-02-19 00:00, or 1 GiB from now
        compaction  0 merges, 0 stretches built into tiers, 0 failed, 0 B written since the start

        BLOCK FROM        TO (UTC)          LEVEL  SERIES  SAMPLES  SIZE     BYTES/SAMPLE  FILE
        1970-01-19 00:00  1970-01-20 00:00  2      10      2048     1.5 KiB  0.75          a.block

        WINDOW FROM       TO (UTC)          SERIES  MEMORY  LAST SAMPLE
        1970-01-20 22:00  1970-01-21 00:00  10      2 KiB   5s ago

        METRIC  SIZE IN BLOCKS
        up      1 KiB

        damage      1 met since the start; everything else is served
          /data/blocks/b.block (10 B): it is no whole block
            bring it back
        ");
    }
}
