use proptest::prelude::*;

use super::*;

fn request(outputs: Vec<Output>, fixups: Vec<Fixup>) -> Request {
    Request { nr: 0, args: [0; 6], fixups, slot_bytes: 4096, outputs, anchor: None }
}

fn output(offset: u32, capacity: u32) -> Output {
    Output { offset, capacity, filled: Filled::Whole, when: When::Always }
}

fn refusal(request: Request) -> Refusal {
    place(request, &[0; 64], SLOT_BASE, SLOT_BYTES).unwrap_err()
}

#[test]
fn calls_that_stay_at_the_guest_are_not_executed_at_home() {
    for (nr, first_arg) in
        [(101, 0), (317, 0), (9, 0), (56, 0), (202, 0), (157, 22), (500, 0), (321, 0), (15, 0)]
    {
        let refused = Request { nr, args: [first_arg, 0, 0, 0, 0, 0], ..request(vec![], vec![]) };
        assert_eq!(refusal(refused), Refusal::NotForwarded { nr });
    }
}

#[test]
fn pointers_stay_in_the_slot() {
    let fixup = |place, target| request(vec![], vec![Fixup { place, target }]);
    assert!(place(fixup(Place::Cell(56), 4096), &[0; 64], SLOT_BASE, SLOT_BYTES).is_ok());
    let outside = Refusal::FixupOutside { index: 0 };
    for place in [Place::Cell(57), Place::Cell(u32::MAX), Place::Arg(6), Place::Arg(255)] {
        assert_eq!(refusal(fixup(place, 0)), outside);
    }
    assert_eq!(refusal(fixup(Place::Arg(0), 4097)), outside);
}

#[test]
fn outputs_stay_in_the_slot_and_within_its_size() {
    let outside = |index| Refusal::OutputOutside { index };
    assert_eq!(refusal(request(vec![output(4000, 97)], vec![])), outside(0));
    assert_eq!(refusal(request(vec![output(u32::MAX, 2)], vec![])), outside(0));
    assert_eq!(refusal(request(vec![output(0, 4096), output(0, 1)], vec![])), outside(1));
    let cell = Output { filled: Filled::Cell { offset: 4093 }, ..output(0, 8) };
    assert_eq!(refusal(request(vec![cell], vec![])), outside(0));
}

#[test]
fn sizes_are_bounded() {
    let large = Request { slot_bytes: SLOT_BYTES + 1, ..request(vec![], vec![]) };
    assert!(matches!(refusal(large), Refusal::SlotTooSmall { .. }));
    let small = Request { slot_bytes: 63, ..request(vec![], vec![]) };
    assert_eq!(refusal(small), Refusal::ImageTooLong { len: 64, declared: 63 });
    let many = request(vec![output(0, 0); 8193], vec![]);
    assert_eq!(refusal(many), Refusal::TooMany { count: 8193 });
}

#[test]
fn fault_f45_replies_are_bounded_by_the_programs_room() {
    let body = Body::new();
    let scatter = gather(0, &[0, BODY_BASE, 8, 0, 0, 0], &body).unwrap().scatter;
    let apply = |reply: &[u8]| scatter.apply(8, reply, &body);
    assert_eq!(apply(&[]), Err(BadReply::Short { output: 0 }));
    assert_eq!(apply(&[8, 0, 0, 0, 1]), Err(BadReply::Short { output: 0 }));
    let long = [[9, 0, 0, 0].as_slice(), &[1; 9]].concat();
    assert_eq!(apply(&long), Err(BadReply::TooLong { output: 0, len: 9, room: 8 }));
    assert_eq!(apply(&[1, 0, 0, 0, 1, 1]), Err(BadReply::Trailing { len: 1 }));
    assert_eq!(apply(&[1, 0, 0, 0, 1]), Ok(8));
}

/// Arguments that are often pointers into the body, small numbers, or nonsense.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..BODY_BYTES as u64).prop_map(|offset| BODY_BASE + offset),
        4 => 0..300u64,
        1 => Just(u64::MAX),
        1 => Just(1 << 31),
        1 => any::<u64>(),
    ]
}

/// Words that make plausible iovecs, headers and length cells.
fn content() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(argument(), 64)
}

fn place_of_fixup() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<u8>().prop_map(Place::Arg),
        (0..5000u32).prop_map(Place::Cell),
        any::<u32>().prop_map(Place::Cell)
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..5000u32, any::<u32>()]
}

fn any_output() -> impl Strategy<Value = Output> {
    let filled = prop_oneof![
        Just(Filled::Whole),
        (number(), number()).prop_map(|(unit, plus)| Filled::Result { unit, plus }),
        number().prop_map(|offset| Filled::Cell { offset }),
    ];
    let when = prop_oneof![
        Just(When::Success),
        Just(When::Interrupted),
        Just(When::Always),
        any::<u32>().prop_map(When::Beyond)
    ];
    (number(), number(), filled, when).prop_map(|(offset, capacity, filled, when)| Output {
        offset,
        capacity,
        filled,
        when,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    /// Whatever a program passes, what is gathered is accepted at home and the outputs fit the program's room.
    #[test]
    fn every_call_goes_the_whole_way(
        nr in 0..470u32,
        args in proptest::array::uniform6(argument()),
        content in content(),
        from in prop_oneof![3 => Just(0u64), 1 => argument()],
        result in prop_oneof![Just(0i64), 1..1000i64, Just(-4), Just(-516), any::<i64>()],
        noise in any::<u8>(),
    ) {
        let body = Body::new();
        for (i, arg) in args.iter().enumerate() {
            if let Ok(range) = Body::range(*arg, 512) {
                body.put(range.start, &words(&content[i..])[..400]);
            }
        }
        if let Ok(plan) = gather_piece(nr, &args, from, &body) {
            prop_assert!(plan.image.len() <= plan.request.slot_bytes as usize);
            run(plan, &body, |_, slot| {
                slot.bytes.fill(noise);
                result
            });
        }
    }

    /// Whatever a guest node sends, home reads and writes inside the slot, and a bounded amount.
    #[test]
    fn no_request_leaves_the_slot(
        nr in prop_oneof![Just(0u32), 0..480u32],
        slot_bytes in number(),
        fixups in proptest::collection::vec((place_of_fixup(), number()), 0..4),
        outputs in proptest::collection::vec(any_output(), 0..4),
        image_len in 0..6000usize,
        result in any::<i64>(),
    ) {
        let fixups = fixups.into_iter().map(|(place, target)| Fixup { place, target }).collect();
        let request = Request { nr, args: [1; 6], fixups, slot_bytes, outputs, anchor: None };
        if let Ok(placed) = place(request, &vec![0; image_len], SLOT_BASE, 4096) {
            prop_assert!(placed.bytes.len() <= 4096);
            let reply = placed.collect(result, |offset, buf: &mut [u8]| {
                let end = offset as usize + buf.len();
                if end <= 4096 { buf.fill(0xff); Ok(()) } else { Err(end) }
            });
            prop_assert!(reply.expect("collecting stays in the slot").len() <= 4096 + 4 * 4);
        }
    }
}
