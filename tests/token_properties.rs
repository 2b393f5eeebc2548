//! Tokens and slot names: what is packed is what comes back, and no two names are the same.

use megaconn::engine::token::{Generation, Operation, SlotId, Token};
use proptest::prelude::*;

fn slots() -> impl Strategy<Value = SlotId> {
    (0..u16::MAX, any::<u16>()).prop_map(|(segment, index)| SlotId::new(segment, index))
}

proptest! {
    #[test]
    fn a_token_comes_back_from_the_kernel_whole(n: u32, slot in slots()) {
        let generation = Generation::new(n);
        for &operation in Operation::ALL {
            let token = Token::new(operation, generation, slot);
            let back = Token::unpack(token.packed());
            prop_assert_eq!(back, Some(token));
            prop_assert_eq!(token.operation(), operation);
            prop_assert_eq!(token.generation(), generation);
            prop_assert_eq!(token.slot(), slot);
        }
    }

    #[test]
    fn another_operation_changes_nothing_else(n: u32, slot in slots()) {
        for &from in Operation::ALL {
            for &to in Operation::ALL {
                let token = Token::new(from, Generation::new(n), slot);
                prop_assert_eq!(token.with(to), Token::new(to, Generation::new(n), slot));
            }
        }
    }

    #[test]
    fn tokens_differ_when_any_part_does(a: (u32, u16, u16, usize), b: (u32, u16, u16, usize)) {
        let parts = |(n, segment, index, operation): (u32, u16, u16, usize)| {
            let operation = Operation::ALL[operation % Operation::ALL.len()];
            (operation, Generation::new(n), SlotId::new(segment, index))
        };
        let token = |part: (Operation, Generation, SlotId)| Token::new(part.0, part.1, part.2);
        let (a, b) = (parts(a), parts(b));
        prop_assert_eq!(a == b, token(a).packed() == token(b).packed());
    }

    #[test]
    fn any_word_is_a_token_or_none(user_data: u64) {
        match Token::unpack(user_data) {
            Some(token) => {
                prop_assert_eq!(token.packed(), user_data);
                prop_assert!(Operation::ALL.contains(&token.operation()));
            }
            None => {
                let number = user_data >> 56;
                prop_assert!(Operation::ALL.iter().all(|&operation| operation as u64 != number));
            }
        }
    }

    #[test]
    fn a_generation_is_a_number_modulo_two_to_the_24(n: u32) {
        let generation = Generation::new(n);
        prop_assert_eq!(generation.get(), n % (1 << 24));
        prop_assert_eq!(generation.next().get(), (generation.get() + 1) % (1 << 24));
        prop_assert_ne!(generation.next(), generation);
    }

    #[test]
    fn a_slot_keeps_its_segment_and_index(segment in 0..u16::MAX, index: u16) {
        let slot = SlotId::new(segment, index);
        prop_assert_eq!((slot.segment(), slot.index()), (segment, index));
        prop_assert_ne!(slot, SlotId::NONE);
        prop_assert_eq!(slot.packed(), u32::from(segment) << 16 | u32::from(index));
    }
}

#[test]
fn the_last_generation_is_followed_by_the_first() {
    let last = Generation::new(0x00ff_ffff);
    assert_eq!(last.next(), Generation::new(0));
    // The carry must not reach the operation above it.
    for &operation in Operation::ALL {
        let token = Token::new(operation, last.next(), SlotId::new(0, 0));
        assert_eq!(token.operation(), operation);
    }
}

#[test]
fn every_operation_has_a_number_of_its_own() {
    for (n, &operation) in Operation::ALL.iter().enumerate() {
        let is_new = Operation::ALL[..n].iter().all(|&earlier| earlier as u8 != operation as u8);
        assert!(is_new, "{operation:?} shares its number");
    }
}
