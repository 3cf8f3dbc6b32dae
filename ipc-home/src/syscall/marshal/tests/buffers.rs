use super::*;

#[test]
fn read_fills_what_the_result_says_and_no_more() {
    let body = Body::new();
    let buf = body.put(64, &[UNTOUCHED; 16]);
    let result = forward(libc::SYS_read, [3, buf, 16, 0, 0, 0], &body, |args, slot| {
        assert_eq!((args[0], args[2]), (3, 16));
        slot.write(args[1], b"hello, and what the kernel did not say"[..16].as_ref());
        5
    });
    assert_eq!(result, 5);
    assert_eq!(body.get(buf, 6), b"hello\xaa");
}

#[test]
fn a_failed_read_changes_nothing() {
    let body = Body::new();
    let buf = body.put(64, &[]);
    assert_eq!(forward(libc::SYS_read, [3, buf, 16, 0, 0, 0], &body, |_, _| -11), -11);
    assert_eq!(body.get(buf, 16), [UNTOUCHED; 16]);
}

#[test]
fn an_output_without_memory_is_a_fault() {
    let body = Body::read_only();
    let args = [3, BODY_BASE, 16, 0, 0, 0];
    assert_eq!(forward(libc::SYS_read, args, &body, |_, _| 4), -i64::from(libc::EFAULT));
}

#[test]
fn write_carries_its_bytes() {
    let body = Body::new();
    let buf = body.put(100, b"bytes");
    let result = forward(libc::SYS_write, [1, buf, 5, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.read(args[1], 5), b"bytes");
        5
    });
    assert_eq!(result, 5);
    assert_eq!(errno(libc::SYS_write, [1, 0x1000, 5, 0, 0, 0], &body), libc::EFAULT);
}

#[test]
fn vectors_are_one_buffer_at_home() {
    let body = Body::new();
    let (first, second) = (body.put(0, b"abc"), body.put(100, b"defgh"));
    let iov = body.put(200, &words(&[first, 3, 0, 0, second, 5]));
    forward(libc::SYS_writev, [1, iov, 3, 0, 0, 0], &body, |args, slot| {
        assert_eq!(args[2], 1);
        assert_eq!(slot.u64(args[1] + 8), 8);
        assert_eq!(slot.read(slot.u64(args[1]), 8), b"abcdefgh");
        8
    });
    forward(libc::SYS_readv, [0, iov, 3, 0, 0, 0], &body, |args, slot| {
        slot.write(slot.u64(args[1]), b"ABCDEFGH");
        5
    });
    assert_eq!(body.get(first, 4), b"ABC\xaa");
    assert_eq!(body.get(second, 5), b"DEfgh");
    assert_eq!(errno(libc::SYS_readv, [0, iov, 1025, 0, 0, 0], &body), libc::EINVAL);
    assert_eq!(forward(libc::SYS_readv, [0, iov, 0, 0, 0, 0], &body, |args, _| args[2].cast_signed()), 0);
}

#[test]
fn poll_brings_the_events_back() {
    let body = Body::new();
    let fds = body.put(0, &words(&[0x0001_0000_0003, 0x0004_0000_0004]));
    let result = forward(libc::SYS_poll, [fds, 2, 100, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.u64(args[0]), 0x0001_0000_0003);
        slot.write(args[0] + 6, &[1, 0]);
        1
    });
    assert_eq!(result, 1);
    assert_eq!(
        body.get(fds, 24),
        [words(&[0x0001_0001_0000_0003, 0x0004_0000_0004]), vec![UNTOUCHED; 8]].concat()
    );
    assert_eq!(errno(libc::SYS_poll, [fds, 1 << 20, 0, 0, 0, 0], &body), libc::EINVAL);
}

#[test]
fn select_has_words_of_bits_and_a_sinking_timeout() {
    let body = Body::new();
    let (read, timeout) = (body.put(0, &words(&[7, 1])), body.put(100, &words(&[5, 0])));
    let args = [65, read, 0, 0, timeout, 0];
    forward(libc::SYS_select, args, &body, |args, slot| {
        assert_eq!((args[0], args[2], args[3]), (65, 0, 0));
        slot.write(args[1], &words(&[4, 0]));
        slot.write(args[4], &words(&[3, 9]));
        1
    });
    assert_eq!(body.get(read, 17), [words(&[4, 0]), vec![UNTOUCHED]].concat());
    assert_eq!(body.get(timeout, 16), words(&[3, 9]));
    let interrupted = forward(libc::SYS_select, args, &body, |args, slot| {
        slot.write(args[1], &words(&[0, 0]));
        slot.write(args[4], &words(&[1, 2]));
        -514
    });
    assert_eq!(interrupted, -514);
    assert_eq!(body.get(read, 16), words(&[4, 0]));
    assert_eq!(body.get(timeout, 16), words(&[1, 2]));
}

#[test]
fn a_timeout_in_read_only_memory_does_not_spoil_the_result() {
    let body = Body::read_only();
    assert_eq!(forward(libc::SYS_select, [0, 0, 0, 0, BODY_BASE, 0], &body, |_, _| 0), 0);
}

#[test]
fn pselect_has_a_pair_of_pointer_and_size() {
    let body = Body::new();
    let set = body.put(0, &words(&[0x1234]));
    let pair = body.put(64, &words(&[set, 8]));
    forward(libc::SYS_pselect6, [0, 0, 0, 0, 0, pair], &body, |args, slot| {
        assert_eq!(slot.u64(args[5] + 8), 8);
        assert_eq!(slot.u64(slot.u64(args[5])), 0x1234);
        0
    });
}

#[test]
fn epoll_wait_counts_items() {
    let body = Body::new();
    let events = body.put(0, &[]);
    forward(libc::SYS_epoll_wait, [3, events, 8, 0, 0, 0], &body, |args, slot| {
        slot.write(args[1], &[7; 8 * 12]);
        2
    });
    assert_eq!(body.get(events, 25), [vec![7; 24], vec![UNTOUCHED]].concat());
    assert_eq!(errno(libc::SYS_epoll_wait, [3, events, u64::MAX, 0, 0, 0], &body), libc::EINVAL);
    let many = u64::from(PAYLOAD_BYTES);
    forward(libc::SYS_epoll_wait, [3, events, many, 0, 0, 0], &body, |args, _| {
        assert!(args[2] * 12 <= u64::from(PAYLOAD_BYTES));
        0
    });
}

#[test]
fn the_event_of_a_deletion_is_not_looked_at() {
    let body = Body::new();
    let wild = 0x10;
    assert_eq!(forward(libc::SYS_epoll_ctl, [3, 2, 4, wild, 0, 0], &body, |_, _| 0), 0);
    assert_eq!(errno(libc::SYS_epoll_ctl, [3, 1, 4, wild, 0, 0], &body), libc::EFAULT);
}

#[test]
fn a_sleep_tells_the_rest_only_when_interrupted() {
    let body = Body::new();
    let (time, rest) = (body.put(0, &words(&[10, 0])), body.put(64, &[]));
    let untouched = || [UNTOUCHED; 16].to_vec();
    for (result, expected) in
        [(0, untouched()), (-513, untouched()), (-516, words(&[3, 4])), (-4, words(&[3, 4]))]
    {
        let returned = forward(libc::SYS_nanosleep, [time, rest, 0, 0, 0, 0], &body, |args, slot| {
            assert_eq!(slot.u64(args[0]), 10);
            slot.write(args[1], &words(&[3, 4]));
            result
        });
        assert_eq!(returned, result);
        assert_eq!(body.get(rest, 16), expected, "result {result}");
    }
}

#[test]
fn stat_getdents_and_readlink() {
    let body = Body::new();
    let (path, out) = (body.put(0, b"/etc/passwd\0"), body.put(512, &[]));
    forward(libc::SYS_stat, [path, out, 0, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.read(args[0], 12), b"/etc/passwd\0");
        slot.write(args[1], &[1; 144]);
        0
    });
    assert_eq!(body.get(out, 145), [vec![1; 144], vec![UNTOUCHED]].concat());
    forward(libc::SYS_getdents64, [3, out, 4096, 0, 0, 0], &body, |args, slot| {
        slot.write(args[1], &[2; 48]);
        48
    });
    assert_eq!(body.get(out, 49), [vec![2; 48], vec![1]].concat());
    let link = forward(libc::SYS_readlink, [path, out, 100, 0, 0, 0], &body, |args, slot| {
        slot.write(args[1], b"target");
        6
    });
    assert_eq!(link, 6);
    assert_eq!(body.get(out, 7), b"target\x02");
}

#[test]
fn paths_end_at_a_mapping_or_are_too_long() {
    let body = Body::new();
    let last = body.put(BODY_BYTES - 4, b"end\0");
    forward(libc::SYS_unlink, [last, 0, 0, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.read(args[0], 4), b"end\0");
        0
    });
    let no_end = body.put(BODY_BYTES - 4, b"endx");
    assert_eq!(errno(libc::SYS_unlink, [no_end, 0, 0, 0, 0, 0], &body), libc::EFAULT);
    let longest = body.put(0, &[b'a'; 4095]);
    body.put(4095, &[0]);
    assert!(gather(87, &[longest, 0, 0, 0, 0, 0], &body).is_ok());
    body.put(4095, b"a\0");
    assert_eq!(errno(libc::SYS_unlink, [longest, 0, 0, 0, 0, 0], &body), libc::ENAMETOOLONG);
    forward(libc::SYS_unlink, [0; 6], &body, |args, _| {
        assert_eq!(args[0], 0);
        -14
    });
}

#[test]
fn a_program_has_arguments_and_an_environment() {
    let body = Body::new();
    let (path, arg) = (body.put(0, b"/bin/ls\0"), body.put(100, b"-l\0"));
    let argv = body.put(200, &words(&[path, arg, 0]));
    let envp = body.put(300, &words(&[0]));
    forward(libc::SYS_execve, [path, argv, envp, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.read(slot.u64(args[1]), 8), b"/bin/ls\0");
        assert_eq!(slot.read(slot.u64(args[1] + 8), 3), b"-l\0");
        assert_eq!((slot.u64(args[1] + 16), slot.u64(args[2])), (0, 0));
        -2
    });
}

#[test]
fn the_terminal_has_36_bytes() {
    let body = Body::new();
    let termios = body.put(0, &[]);
    forward(libc::SYS_ioctl, [0, 0x5401, termios, 0, 0, 0], &body, |args, slot| {
        slot.write(args[2], &[9; 60]);
        0
    });
    assert_eq!(body.get(termios, 37), [vec![9; 36], vec![UNTOUCHED]].concat());
}

#[test]
fn unknown_ioctls_go_by_their_encoding() {
    let body = Body::new();
    let arg = body.put(0, &[1, 2, 3, 4]);
    let reads_and_writes_4 = 0xc004_7a01;
    forward(libc::SYS_ioctl, [0, reads_and_writes_4, arg, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.u32(args[2]), 0x0403_0201);
        slot.write(args[2], &[8; 4]);
        0
    });
    assert_eq!(body.get(arg, 5), [8, 8, 8, 8, UNTOUCHED]);
    for says_nothing_or_has_pointers in [0x7a01, 0xc020_660b, 0x4004_ae01] {
        let args = [0, says_nothing_or_has_pointers, arg, 0, 0, 0];
        let refused = gather(16, &args, &body).unwrap_err();
        assert!(matches!(refused, GatherError::Refused(libc::ENOTTY | libc::EOPNOTSUPP)), "{refused:?}");
    }
}

#[test]
fn a_failed_call_may_still_write() {
    let body = Body::new();
    let (path, handle, mount) = (body.put(0, b"/\0"), body.put(64, &[0; 8]), body.put(128, &[0; 4]));
    let args = [0, path, handle, mount, 0, 0];
    let result = forward(libc::SYS_name_to_handle_at, args, &body, |args, slot| {
        slot.write(args[2], &[12, 0, 0, 0]);
        slot.write(args[3], &[27, 0, 0, 0]);
        -i64::from(libc::EOVERFLOW)
    });
    assert_eq!(result, -i64::from(libc::EOVERFLOW));
    assert_eq!((body.get(handle, 4), body.get(mount, 4)), (vec![12, 0, 0, 0], vec![27, 0, 0, 0]));
}

#[test]
fn what_the_table_refuses_gets_its_errno() {
    let body = Body::new();
    assert_eq!(errno(libc::SYS_prctl, [9999, 0, 0, 0, 0, 0], &body), libc::EINVAL);
    assert_eq!(errno(libc::SYS_ioctl, [0, 0x7a01, 0, 0, 0, 0], &body), libc::ENOTTY);
    assert_eq!(errno(libc::SYS_unshare, [0; 6], &body), libc::EPERM);
    assert_eq!(errno(libc::SYS_io_uring_setup, [0; 6], &body), libc::ENOSYS);
    assert_eq!(gather(9, &[0; 6], &body), Err(GatherError::NotForwarded));
}

#[test]
fn a_thread_name_is_cut() {
    let body = Body::new();
    let name = body.put(0, b"a-name-of-more-than-fifteen\0");
    forward(libc::SYS_prctl, [15, name, 0, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.read(args[1], 17), b"a-name-of-more-t\0");
        0
    });
}

#[test]
fn mail_has_a_long_before_its_bytes() {
    let body = Body::new();
    let mail = body.put(0, &[words(&[7]), b"text".to_vec()].concat());
    forward(libc::SYS_msgsnd, [1, mail, 4, 0, 0, 0], &body, |args, slot| {
        assert_eq!(slot.read(args[1], 12), [&7u64.to_le_bytes()[..], b"text"].concat());
        0
    });
    let into = body.put(100, &[]);
    forward(libc::SYS_msgrcv, [1, into, 64, 0, 0, 0], &body, |args, slot| {
        slot.write(args[1], &[words(&[7]), b"text".to_vec()].concat());
        4
    });
    assert_eq!(body.get(into, 13), [&7u64.to_le_bytes()[..], b"text\xaa"].concat());
}
