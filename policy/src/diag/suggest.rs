//! The name that was perhaps meant.

/// The candidate nearest to `word`, if one is near enough: a third of its letters wrong at most,
/// upper and lower case aside. Of equally near ones the first. For a few candidates; see [`Budget`]
/// for many.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    Budget { left: usize::MAX }.nearest(word, candidates)
}

/// How many names may still be compared. A thousand wrong names among ten thousand would take
/// longer to find suggestions for than a policy takes to load.
#[derive(Debug)]
pub struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: 500_000 }
    }
}

impl Budget {
    /// Like [`nearest`], as long as the budget lasts.
    pub fn nearest<'a>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let word = word.to_lowercase();
        let length = word.chars().count();
        if length > LONGEST {
            return None;
        }
        let allowed = (length / 3).max(1);
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            let limit = best.map_or(allowed, |(distance, _)| distance.saturating_sub(1));
            if candidate.chars().count().abs_diff(length) > limit {
                continue;
            }
            self.left = self.left.checked_sub(1)?;
            let distance = strsim::osa_distance(&word, &candidate.to_lowercase());
            if distance <= limit {
                best = Some((distance, candidate));
            }
            if distance == 0 {
                break;
            }
        }
        // A word of one or two letters is near to any other such word.
        best.filter(|(distance, _)| *distance < length).map(|(_, candidate)| candidate)
    }
}

/// Longer words are not compared.
const LONGEST: usize = 64;

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
