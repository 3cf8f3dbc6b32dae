use super::*;

const MANY: usize = 600_000;

/// Makes all pieces of a call; the kernel answers each with the piece's length unless `limit` is reached.
fn in_pieces(nr: i64, args: [u64; 6], body: &Body, file: FileKind, limit: u64) -> (i64, Vec<[u64; 6]>) {
    let nr = u32::try_from(nr).unwrap();
    let (mut from, mut moved, mut seen) = (0, 0, Vec::new());
    loop {
        let plan = gather_piece(nr, &args, from, body).unwrap();
        let split = plan.split;
        let result = run(plan, body, |real, _| {
            seen.push(real);
            let len = real[2].min(limit - moved);
            moved += len;
            if len == 0 { -i64::from(libc::ENOSPC) } else { len.cast_signed() }
        });
        match split.map_or(Next::Done(result), |split| split.next(result, file)) {
            Next::Done(result) => return (result, seen),
            Next::Piece(next) => from = next,
        }
    }
}

#[test]
fn a_large_write_is_made_in_pieces_with_positions() {
    let body = Body::new();
    let args = [1, BODY_BASE, MANY as u64, 1000, 0, 0];
    let (result, seen) = in_pieces(libc::SYS_pwrite64, args, &body, FileKind::Other, u64::MAX);
    assert_eq!(result, MANY as i64);
    let pieces: Vec<_> = seen.iter().map(|args| (args[2], args[3])).collect();
    assert_eq!(pieces, [(262_144, 1000), (262_144, 263_144), (75_712, 525_288)]);
}

#[test]
fn pieces_carry_their_part_of_the_buffer() {
    let body = Body::new();
    body.put(262_144, b"second piece");
    let plan = gather_piece(1, &[1, BODY_BASE, MANY as u64, 0, 0, 0], 262_144, &body).unwrap();
    assert!(plan.image.starts_with(b"second piece"));
    let iov = body.put(BODY_BYTES - 32, &words(&[BODY_BASE, 262_140, BODY_BASE + 262_144, 300_000]));
    let plan = gather_piece(20, &[1, iov, 2, 0, 0, 0], 262_140, &body).unwrap();
    assert!(plan.image.starts_with(b"second piece"));
}

#[test]
fn what_was_moved_counts_more_than_the_error_behind_it() {
    let body = Body::new();
    let args = [1, BODY_BASE, MANY as u64, 0, 0, 0];
    let write = |limit| in_pieces(libc::SYS_write, args, &body, FileKind::Other, limit).0;
    assert_eq!(write(300_000), 300_000);
    assert_eq!(write(262_144), 262_144);
    assert_eq!(write(0), -i64::from(libc::ENOSPC));
}

#[test]
fn reading_goes_on_only_where_it_cannot_block() {
    let body = Body::new();
    let args = [0, BODY_BASE, MANY as u64, 0, 0, 0];
    let read = |file| in_pieces(libc::SYS_read, args, &body, file, u64::MAX).0;
    assert_eq!(read(FileKind::Regular), MANY as i64);
    assert_eq!(read(FileKind::Stream), 262_144);
    assert_eq!(read(FileKind::Other), 262_144);
}

#[test]
fn a_large_message_is_split_on_streams_only() {
    let body = Body::new();
    let args = [3, BODY_BASE, MANY as u64, 0, 0, 0];
    let split = gather(44, &args, &body).unwrap().split.unwrap();
    assert_eq!(split.refusal(FileKind::Stream), None);
    assert_eq!(split.refusal(FileKind::Other), Some(libc::EMSGSIZE));
    assert_eq!(in_pieces(libc::SYS_sendto, args, &body, FileKind::Stream, u64::MAX).0, MANY as i64);
    let wait_all = [3, BODY_BASE, MANY as u64, 0x100, 0, 0];
    assert_eq!(in_pieces(libc::SYS_recvfrom, wait_all, &body, FileKind::Stream, u64::MAX).0, MANY as i64);
    assert_eq!(in_pieces(libc::SYS_recvfrom, args, &body, FileKind::Stream, u64::MAX).0, 262_144);
}

#[test]
fn small_calls_are_whole() {
    let body = Body::new();
    let args = [1, BODY_BASE, u64::from(PAYLOAD_BYTES), 0, 0, 0];
    assert_eq!(gather(1, &args, &body).unwrap().split, None);
    assert_eq!(errno(libc::SYS_setxattr, [0, 0, BODY_BASE, 300_000, 0, 0], &body), libc::E2BIG);
}
