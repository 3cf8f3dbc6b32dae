use super::*;

#[test]
fn a_short_address_buffer_is_not_overrun() {
    let body = Body::new();
    let (name, len) = (body.put(0, &[]), body.put(200, &4u32.to_le_bytes()));
    forward(libc::SYS_getsockname, [3, name, len, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.u32(args[2]), 4);
        slot.write(args[1], &[5; 4]);
        slot.write(args[2], &110u32.to_le_bytes());
        0
    });
    assert_eq!(body.get(name, 5), [5, 5, 5, 5, UNTOUCHED]);
    assert_eq!(body.get(len, 4), 110u32.to_le_bytes());
}

#[test]
fn a_long_address_buffer_keeps_its_end() {
    let body = Body::new();
    let (name, len) = (body.put(0, &[]), body.put(200, &128u32.to_le_bytes()));
    forward(libc::SYS_accept4, [3, name, len, 0, 0, 0], &body, |args, slot| {
        slot.write(args[1], &[5; 128]);
        slot.write(args[2], &16u32.to_le_bytes());
        4
    });
    assert_eq!(body.get(name, 17), [vec![5; 16], vec![UNTOUCHED]].concat());
}

#[test]
fn the_kernel_is_never_told_of_more_room_than_the_slot_has() {
    let body = Body::new();
    let (value, len) = (body.put(0, &[]), body.put(BODY_BYTES - 4, &i32::MAX.to_le_bytes()));
    forward(libc::SYS_getsockopt, [3, 1, 3, value, len, 0], &body, |args, slot| {
        let told = slot.u32(args[4]) as usize;
        slot.write(args[3], &vec![1; told]);
        slot.write(args[4], &8u32.to_le_bytes());
        0
    });
    assert_eq!(body.get(value, 9), [vec![1; 8], vec![UNTOUCHED]].concat());
    body.put(BODY_BYTES - 4, &(-1i32).to_le_bytes());
    let result = forward(libc::SYS_getsockopt, [3, 1, 3, value, len, 0], &body, |args, slot| {
        assert_eq!(slot.u32(args[4]), u32::MAX);
        -22
    });
    assert_eq!(result, -22);
}

#[test]
fn an_absent_address_needs_no_length() {
    let body = Body::new();
    let result = forward(libc::SYS_accept, [3, 0, 0, 0, 0, 0], &body, |args, _| {
        assert_eq!((args[1], args[2]), (0, 0));
        5
    });
    assert_eq!(result, 5);
    assert_eq!(forward(libc::SYS_accept, [3, 0, 0x10, 0, 0, 0], &body, |_, _| 5), 5);
    assert_eq!(errno(libc::SYS_accept, [3, BODY_BASE, 0x10, 0, 0, 0], &body), libc::EFAULT);
}

#[test]
fn recvfrom_has_payload_and_address() {
    let body = Body::new();
    let (buf, name, len) = (body.put(0, &[]), body.put(100, &[]), body.put(200, &16u32.to_le_bytes()));
    forward(libc::SYS_recvfrom, [3, buf, 10, 0, name, len], &body, |args, slot| {
        slot.write(args[1], b"datagram..");
        slot.write(args[4], &[2; 16]);
        8
    });
    assert_eq!(body.get(buf, 9), b"datagram\xaa");
    assert_eq!(body.get(name, 17), [vec![2; 16], vec![UNTOUCHED]].concat());
}

struct Header {
    name: (u64, u32),
    iov: (u64, u64),
    control: (u64, u64),
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        words(&[self.name.0, self.name.1.into(), self.iov.0, self.iov.1, self.control.0, self.control.1, 0])
    }
}

#[test]
fn sendmsg_carries_name_vector_and_control() {
    let body = Body::new();
    let (a, b) = (body.put(0, b"left "), body.put(10, b"right"));
    let iov = (body.put(32, &words(&[a, 5, b, 5])), 2);
    let name = (body.put(100, &[1; 16]), 16);
    let control = (body.put(200, &words(&[20, 1])), 16);
    let header = body.put(300, &Header { name, iov, control }.bytes());
    forward(libc::SYS_sendmsg, [3, header, 0, 0, 0, 0], &body, |args, slot| {
        let at = args[1];
        assert_eq!(slot.read(slot.u64(at), 16), [1; 16]);
        assert_eq!(slot.u32(at + 8), 16);
        assert_eq!(slot.u64(at + 24), 1);
        let iov = slot.u64(at + 16);
        assert_eq!(slot.read(slot.u64(iov), usize::try_from(slot.u64(iov + 8)).unwrap()), b"left right");
        assert_eq!(slot.read(slot.u64(at + 32), 16), words(&[20, 1]));
        assert_eq!(slot.u64(at + 40), 16);
        10
    });
}

#[test]
fn recvmsg_brings_back_what_the_kernel_wrote() {
    let body = Body::new();
    let (a, b) = (body.put(0, &[]), body.put(64, &[]));
    let iov = (body.put(128, &words(&[a, 4, b, 4])), 2);
    let (name, control) = (body.put(200, &[]), body.put(300, &[]));
    let header = Header { name: (name, 110), iov, control: (control, 64) };
    let at_body = body.put(400, &header.bytes());
    let result = forward(libc::SYS_recvmsg, [3, at_body, 0, 0, 0, 0], &body, |args, slot| {
        let at = args[1];
        slot.write(slot.u64(at), &[6; 2]);
        slot.write(at + 8, &2u32.to_le_bytes());
        slot.write(slot.u64(slot.u64(at + 16)), b"12345678");
        slot.write(slot.u64(at + 32), &[9; 20]);
        slot.write(at + 40, &20u64.to_le_bytes());
        slot.write(at + 48, &0x20u32.to_le_bytes());
        // MSG_TRUNC: the datagram was longer than the room.
        100
    });
    assert_eq!(result, 100);
    assert_eq!((body.get(a, 5), body.get(b, 5)), (b"1234\xaa".to_vec(), b"5678\xaa".to_vec()));
    assert_eq!(body.get(name, 3), [6, 6, UNTOUCHED]);
    assert_eq!(body.get(control, 21), [vec![9; 20], vec![UNTOUCHED]].concat());
    let after = Header { name: (name, 2), iov, control: (control, 20) }.bytes();
    assert_eq!(body.get(at_body, 48), after[..48], "pointers stay the program's own");
    assert_eq!(body.get(at_body + 48, 4), 0x20u32.to_le_bytes());
}

#[test]
fn recvmmsg_brings_back_the_messages_that_came() {
    let body = Body::new();
    let payloads = [body.put(0, &[]), body.put(100, &[]), body.put(200, &[])];
    for (i, payload) in payloads.into_iter().enumerate() {
        let iov = (body.put(1000 + 16 * i, &words(&[payload, 50])), 1);
        let header = Header { name: (0, 0), iov, control: (0, 0) }.bytes();
        body.put(2000 + 64 * i, &[header, words(&[77])].concat());
    }
    let array = BODY_BASE + 2000;
    let result = forward(libc::SYS_recvmmsg, [3, array, 3, 0, 0, 0], &body, |args, slot| {
        assert_eq!(args[2], 3);
        for (i, text) in [b"one".as_slice(), b"three"].into_iter().enumerate() {
            let at = args[1] + 64 * i as u64;
            slot.write(slot.u64(slot.u64(at + 16)), text);
            slot.write(at + 56, &u32::try_from(text.len()).unwrap().to_le_bytes());
        }
        2
    });
    assert_eq!(result, 2);
    assert_eq!(body.get(payloads[0], 4), b"one\xaa");
    assert_eq!(body.get(payloads[1], 6), b"three\xaa");
    assert_eq!(body.get(payloads[2], 1), [UNTOUCHED]);
    let lengths = [0, 1, 2].map(|i| body.get(array + 64 * i + 56, 4)[0]);
    assert_eq!(lengths, [3, 5, 77]);
}

#[test]
fn sendmmsg_takes_as_many_messages_as_fit() {
    let body = Body::new();
    let payload = body.put(0, &[]);
    let iov = (body.put(BODY_BYTES - 16, &words(&[payload, 100_000])), 1);
    for i in 0..4 {
        let header = Header { name: (0, 0), iov, control: (0, 0) }.bytes();
        body.put(500_000 + 64 * i, &[header, words(&[0])].concat());
    }
    let result = forward(libc::SYS_sendmmsg, [3, BODY_BASE + 500_000, 4, 0, 0, 0], &body, |args, slot| {
        assert_eq!(args[2], 2);
        slot.write(args[1] + 56, &100_000u32.to_le_bytes());
        1
    });
    assert_eq!(result, 1);
    let lengths = [0, 1].map(|i| body.get(BODY_BASE + 500_000 + 64 * i + 56, 4));
    assert_eq!(lengths, [100_000u32.to_le_bytes(), [0; 4]]);
}
