//! A sample of things that come one by one, of a number that is not known before: each has the same chance to be in it. Pure.

/// A sample of at most so many things. No others are held in memory.
#[derive(Debug)]
pub(super) struct Sample<T> {
    size: usize,
    chosen: Vec<T>,
    offered: u64,
}

impl<T> Sample<T> {
    pub(super) fn of(size: usize) -> Self {
        Self { size, chosen: Vec::new(), offered: 0 }
    }

    /// Offers the next thing, with any number by chance. The thing number n is taken with the chance size/n, in place of one of
    /// those that were taken before: so all have the same chance in the end (algorithm R).
    pub(super) fn offer(&mut self, thing: T, random: u64) {
        self.offered += 1;
        if self.chosen.len() < self.size {
            return self.chosen.push(thing);
        }
        let place = usize::try_from(random % self.offered).unwrap_or(usize::MAX);
        if let Some(taken) = self.chosen.get_mut(place) {
            *taken = thing;
        }
    }

    /// How many things were offered.
    pub(super) fn offered(&self) -> u64 {
        self.offered
    }

    pub(super) fn chosen(self) -> Vec<T> {
        self.chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_taken_where_there_are_no_more() {
        let mut sample = Sample::of(3);
        (0..3).for_each(|thing| sample.offer(thing, 0));
        assert_eq!((sample.offered(), sample.chosen()), (3, vec![0, 1, 2]));
    }

    #[test]
    fn each_thing_has_the_same_chance() {
        const ROUNDS: u32 = 20_000;
        // Numbers that are spread evenly, the same at each run.
        let mut state = 1u64;
        let mut chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut times = [0u32; 10];
        for _ in 0..ROUNDS {
            let mut sample = Sample::of(3);
            (0..10usize).for_each(|thing| sample.offer(thing, chance()));
            let chosen = sample.chosen();
            assert_eq!(chosen.len(), 3);
            for thing in chosen {
                times[thing] += 1;
            }
        }
        // Three tenths of the rounds each, within five standard deviations.
        assert!(times.iter().all(|times| times.abs_diff(ROUNDS * 3 / 10) < 325), "{times:?}");
    }
}
