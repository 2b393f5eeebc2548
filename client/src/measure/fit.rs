//! A straight line through a few points, by least squares: what each connection adds to a figure,
//! how sure that is, and what there is without any. The formulas are those of every textbook.

use megaconn::results::cost::Line;

/// Points that a line and its error take: two fix a line and leave nothing to tell its error by.
pub(crate) const POINTS_MIN: usize = 3;

/// The line through `points` of connections and bytes; `None` for fewer than [`POINTS_MIN`], and when
/// all are of one number of connections.
pub(crate) fn line(points: &[(f64, f64)]) -> Option<Line> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let n = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    // Of the distances to the means: sums of large squares would cancel each other out.
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        points.iter().map(|(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    if xx == 0.0 {
        return None;
    }
    let slope = xy / xx;
    let left = sum(&|x, y| (y - slope * x).powi(2));
    Some(Line {
        slope_bytes: Some(slope),
        stderr_bytes: (left / (n - 2.0) / xx).sqrt(),
        fixed_bytes: mean_y - slope * mean_x,
        r2: (yy > 0.0).then(|| 1.0 - left / yy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn a_line_through_noise_is_the_one_by_hand() {
        // Sums of squares by hand: xx 10, xy 7, yy 5.2; left over 0.3.
        let points = [(1.0, 1.0), (2.0, 2.0), (3.0, 2.0), (4.0, 3.0), (5.0, 4.0)];
        let line = line(&points).unwrap();
        is_near(line.slope_bytes.unwrap(), 0.7);
        is_near(line.fixed_bytes, 0.3);
        is_near(line.stderr_bytes, 0.1);
        is_near(line.r2.unwrap(), 1.0 - 0.3 / 5.2);
    }

    #[test]
    fn a_million_connections_do_not_drown_the_error() {
        let points = [0.0, 1e4, 1e5, 1e6].map(|n| (n, 7_168.0 * n + 5e6));
        let line = line(&points).unwrap();
        is_near(line.slope_bytes.unwrap(), 7_168.0);
        assert!((line.fixed_bytes - 5e6).abs() < 1e-3, "{line:?}");
        assert!(line.stderr_bytes < 1e-6 && line.r2 > Some(1.0 - 1e-12), "{line:?}");
    }

    #[test]
    fn what_has_no_line_has_none() {
        assert_eq!(line(&[]), None);
        assert_eq!(line(&[(0.0, 0.0), (10.0, 3.0)]), None, "two points leave no error to tell");
        assert_eq!(line(&[(5.0, 1.0), (5.0, 2.0), (5.0, 3.0)]), None);
        let flat = line(&[(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)]).unwrap();
        assert_eq!((flat.slope_bytes, flat.r2), (Some(0.0), None));
    }
}
