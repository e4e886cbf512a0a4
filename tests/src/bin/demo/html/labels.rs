//! Where labels go above a diagram so that none covers another, nor the line from another one down
//! to its mark: beside their mark, and above all later ones that they would touch.

/// A label's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    /// Where its text begins.
    pub(crate) x: f64,
    /// 0 is the lowest lane.
    pub(crate) lane: usize,
}

/// Room that is kept between two labels of a lane.
const SPACE: f64 = 10.0;

/// Places labels of these widths beside marks at these places, none beyond `right`. The marks are
/// in rising order.
pub(crate) fn place(marks: &[(f64, f64)], right: f64) -> Vec<Place> {
    // From right to left, each with its mark and its end.
    let mut places: Vec<(Place, f64, f64)> = Vec::new();
    for &(at, width) in marks.iter().rev() {
        let x = at.min(right - width).max(0.0);
        let end = x + width;
        // The line from a higher lane down to a mark below this label would cross it.
        let crossing = places.iter().filter(|(_, other, _)| x < *other && *other < end);
        let mut lane = crossing.map(|(place, ..)| place.lane + 1).max().unwrap_or(0);
        let taken = |lane: usize| {
            let mut others = places.iter().filter(|(place, ..)| place.lane == lane);
            others.any(|(place, _, until)| place.x < end + SPACE && x < until + SPACE)
        };
        while taken(lane) {
            lane += 1;
        }
        places.push((Place { x, lane }, at, end));
    }
    places.into_iter().rev().map(|(place, ..)| place).collect()
}

/// A width that no text of so many characters exceeds in a plain typeface of this size.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    f64::from(characters) * size * 0.62
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks in rising order, with the widths of their labels.
    fn random(seed: &mut u32) -> Vec<(f64, f64)> {
        let mut random = |below: u32| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from((*seed >> 8) % below)
        };
        let mut marks: Vec<_> = (0..8).map(|_| (random(900), 20.0 + random(150))).collect();
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        marks
    }

    #[test]
    fn no_label_covers_another_or_leaves_the_diagram() {
        let mut seed = 7;
        for _ in 0..500 {
            let marks = random(&mut seed);
            let places = place(&marks, 900.0);
            for (index, (place, (_, width))) in places.iter().zip(&marks).enumerate() {
                assert!(place.x >= 0.0 && place.x + width <= 900.0, "{marks:?}");
                for (other, (_, other_width)) in places.iter().zip(&marks).skip(index + 1) {
                    let apart = place.x + width <= other.x || other.x + other_width <= place.x;
                    assert!(place.lane != other.lane || apart, "{marks:?}: {places:?}");
                }
            }
        }
    }

    #[test]
    fn no_line_down_to_a_mark_crosses_a_label() {
        let mut seed = 11;
        for _ in 0..500 {
            let marks = random(&mut seed);
            // Wide enough that no label has to move to the left.
            let places = place(&marks, 2_000.0);
            for (line, (at, _)) in places.iter().zip(&marks) {
                for (label, (_, width)) in places.iter().zip(&marks) {
                    let within = label.x < *at && *at < label.x + width;
                    assert!(label.lane >= line.lane || !within, "{marks:?}: {places:?}");
                }
            }
        }
    }

    #[test]
    fn labels_that_have_room_share_the_lowest_lane() {
        let places = place(&[(0.0, 50.0), (100.0, 50.0), (120.0, 50.0)], 900.0);
        assert_eq!(places.iter().map(|place| place.lane).collect::<Vec<_>>(), [0, 1, 0]);
    }
}
