//! The name that was perhaps meant.

/// The candidate nearest to `word`, if one is near enough: a third of its letters wrong at most,
/// upper and lower case aside. Of equally near ones the first.
///
/// Looks at no more than [`LIMIT`] candidates.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let allowed = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().take(LIMIT) {
        let limit = best.map_or(allowed, |(distance, _)| distance.saturating_sub(1));
        if candidate.chars().count().abs_diff(length) > limit {
            continue;
        }
        let distance = strsim::osa_distance(&word, &candidate.to_lowercase());
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
        if distance == 0 {
            break;
        }
    }
    // A word of one or two letters is near to any other such word.
    best.filter(|(distance, _)| *distance < length).map(|(_, candidate)| candidate)
}

/// Candidates that are compared at most.
pub const LIMIT: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["web-pub", "web-1", "lan-net", "LAN"];
        assert_eq!(nearest("web-pubb", names), Some("web-pub"));
        assert_eq!(nearest("wbe-pub", names), Some("web-pub"));
        assert_eq!(nearest("lan", names), Some("LAN"));
        assert_eq!(nearest("database", names), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
