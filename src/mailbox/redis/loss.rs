//! Entries that were trimmed before we read them: senders trim the streams they write to, and Redis says nothing.
//!
//! A group counts what it has read, a stream what was ever added. Once all that is there is delivered, the two are the
//! same, or the difference was never delivered. What was counted before is kept in small state, so that it is told once.

use super::reply::{Group, Stream, id_parts};

/// How many entries the group has missed since it was made, as far as that can be told; `None` where it cannot.
pub fn missed(stream: &Stream, group: &Group) -> Option<u64> {
    let (added, read) = (stream.entries_added?, group.entries_read?);
    let all_delivered = id_parts(&group.last_delivered) >= id_parts(&stream.last_generated);
    if all_delivered {
        return Some(added.saturating_sub(read));
    }
    let (first, delivered) = (id_parts(stream.first_entry.as_deref()?)?, id_parts(&group.last_delivered)?);
    // What is there begins behind what we read: everything trimmed beyond that was not read.
    let trimmed = added.saturating_sub(stream.length);
    (first > delivered).then(|| trimmed.saturating_sub(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(length: u64, first: &str, last: &str, added: u64) -> Stream {
        let (first_entry, last_generated) = (Some(first.to_owned()), last.to_owned());
        Stream { length, last_generated, first_entry, entries_added: Some(added) }
    }

    fn group(last_delivered: &str, entries_read: u64) -> Group {
        Group { last_delivered: last_delivered.to_owned(), entries_read: Some(entries_read), ..Group::default() }
    }

    #[test]
    fn what_was_trimmed_unread_is_counted() {
        // Ten were added, three read, five kept: two are gone.
        assert_eq!(missed(&stream(5, "6-0", "10-0", 10), &group("3-0", 3)), Some(2));
        // The rest was read then.
        assert_eq!(missed(&stream(5, "6-0", "10-0", 10), &group("10-0", 8)), Some(2));
    }

    #[test]
    fn what_was_trimmed_after_it_was_read_is_no_loss() {
        assert_eq!(missed(&stream(5, "6-0", "10-0", 10), &group("7-0", 7)), None);
        assert_eq!(missed(&stream(5, "6-0", "10-0", 10), &group("5-0", 5)), Some(0));
        assert_eq!(missed(&stream(5, "6-0", "10-0", 10), &group("10-0", 10)), Some(0));
        assert_eq!(missed(&Stream::default(), &group("0-0", 0)), None);
    }
}
