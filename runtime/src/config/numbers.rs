//! Lists of numbers such as `0-3,7` as the bit masks that the kernel takes: processors and memory nodes.

use child::Bytes;

/// A set of small numbers: bit n of the mask is number n. Its length is a whole number of words of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Vec<u8>);

/// Bytes of a word in the masks of sched_setaffinity(2) and set_mempolicy(2).
const WORD: usize = size_of::<usize>();

impl Mask {
    /// Reads a list of numbers and ranges, separated by commas; blanks do not matter. Numbers end below `limit`.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub fn parse(list: &str, limit: u32) -> Result<Self, String> {
        let mut mask = Self::default();
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, limit)?, number(last, limit)?);
            if first > last {
                return Err(format!("the range {part:?} is backwards"));
            }
            (first..=last).for_each(|number| mask.insert(number));
        }
        Ok(mask)
    }

    fn insert(&mut self, number: u32) {
        let word = number as usize / (8 * WORD);
        if self.0.len() <= word * WORD {
            self.0.resize((word + 1) * WORD, 0);
        }
        let bit = number as usize % (8 * WORD);
        let byte = if cfg!(target_endian = "little") { bit / 8 } else { WORD - 1 - bit / 8 };
        if let Some(byte) = self.0.get_mut(word * WORD + byte) {
            *byte |= 1 << (bit % 8);
        }
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bits the mask has.
    pub fn bits(&self) -> u32 {
        u32::try_from(self.0.len() * 8).unwrap_or(u32::MAX)
    }

    /// The mask as a field of a step.
    pub fn field(&self) -> Bytes<'_> {
        Bytes(&self.0)
    }
}

fn number(text: &str, limit: u32) -> Result<u32, String> {
    let text = text.trim();
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.filter(|number| *number < limit).ok_or_else(|| format!("{text:?} is no number below {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> Vec<usize> {
        let mask = Mask::parse(list, 4096).unwrap();
        mask.0.chunks_exact(WORD).map(|word| usize::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn a_list_becomes_the_mask_that_the_kernel_reads() {
        assert!(words("").is_empty());
        assert_eq!(words("0-3,7"), [0b1000_1111]);
        assert_eq!(words(" 1 , 3 - 4 ,"), [0b1_1010]);
        let bits = usize::BITS;
        assert_eq!(words(&format!("{bits}")), [0, 1]);
        assert_eq!(words("4095").len(), 4096 / bits as usize);
        assert_eq!(words("0,0,0-1"), [0b11]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in
            ["a", "-1", "1-", "3-1", "1--2", "4096", "99999999999999999999", "0-4294967295", "+1", "1 2"]
        {
            assert!(Mask::parse(list, 4096).is_err(), "{list}");
        }
    }
}
