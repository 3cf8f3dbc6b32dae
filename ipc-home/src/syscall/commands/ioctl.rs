//! `ioctl`, by command.

use super::commands;
use crate::syscall::vocabulary::{Arg, Len};

/// What a command without a row moves, as its number says it: direction and size by the kernel's `_IOC` scheme.
///
/// A command that says nothing is refused, and so are the families whose structures hold further pointers, which
/// home's kernel would follow in the deputy's memory. All buffers are in-and-out, so what the kernel leaves
/// untouched comes back as it was.
pub(super) fn by_encoding(code: u32) -> Option<Arg> {
    let direction = code >> 30;
    let size = code >> 16 & 0x3fff;
    let family = (code >> 8 & 0xff) as u8;
    if size == 0 || POINTER_FAMILIES.contains(&family) {
        return None;
    }
    match direction {
        NONE => None,
        READS_USER => Some(Arg::In(Len::Bytes(size))),
        _ => Some(Arg::InOut(Len::Bytes(size))),
    }
}

const NONE: u32 = 0;
const READS_USER: u32 = 1;

/// Devices with pointers inside their structures: btrfs, autofs, DRM, V4L, sound, USB, KVM, userfaultfd, NVMe,
/// device mapper, SCSI, loop, watch queues, InfiniBand and vhost.
const POINTER_FAMILIES: [u8; 15] =
    [0x94, 0x93, b'd', b'V', b'A', b'U', 0xae, 0xaa, b'N', 0xfd, 0x22, b'L', b'W', 0x1b, 0xaf];

commands! { COMMANDS:
    0x125e     BLKROGET           Home, Out(Bytes(4));
    0x1260     BLKGETSIZE         Home, Out(Bytes(8));
    0x1261     BLKFLSBUF          Home, Val;
    0x1263     BLKRAGET           Home, Out(Bytes(8));
    0x1268     BLKSSZGET          Home, Out(Bytes(4));
    0x5401     TCGETS             Home, Out(Bytes(36));
    0x5402     TCSETS             Home, In(Bytes(36));
    0x5403     TCSETSW            Home, In(Bytes(36));
    0x5404     TCSETSF            Home, In(Bytes(36));
    0x5405     TCGETA             Home, InOut(Bytes(18));
    0x5406     TCSETA             Home, In(Bytes(18));
    0x5407     TCSETAW            Home, In(Bytes(18));
    0x5408     TCSETAF            Home, In(Bytes(18));
    0x5409     TCSBRK             Home, Val;
    0x540a     TCXONC             Home, Val;
    0x540b     TCFLSH             Home, Val;
    0x540c     TIOCEXCL           Home, Val;
    0x540d     TIOCNXCL           Home, Val;
    0x540e     TIOCSCTTY          Home, Val;
    0x540f     TIOCGPGRP          Home, Out(Bytes(4));
    0x5410     TIOCSPGRP          Home, In(Bytes(4));
    0x5411     TIOCOUTQ           Home, Out(Bytes(4));
    0x5412     TIOCSTI            Home, In(Bytes(1));
    0x5413     TIOCGWINSZ         Home, Out(Bytes(8));
    0x5414     TIOCSWINSZ         Home, In(Bytes(8));
    0x5415     TIOCMGET           Home, Out(Bytes(4));
    0x5416     TIOCMBIS           Home, In(Bytes(4));
    0x5417     TIOCMBIC           Home, In(Bytes(4));
    0x5418     TIOCMSET           Home, In(Bytes(4));
    0x5419     TIOCGSOFTCAR       Home, Out(Bytes(4));
    0x541a     TIOCSSOFTCAR       Home, In(Bytes(4));
    0x541b     FIONREAD           Home, Out(Bytes(4));
    0x541d     TIOCCONS           Home, Val;
    0x5420     TIOCPKT            Home, In(Bytes(4));
    0x5421     FIONBIO            Home, In(Bytes(4));
    0x5422     TIOCNOTTY          Home, Val;
    0x5423     TIOCSETD           Home, In(Bytes(4));
    0x5424     TIOCGETD           Home, Out(Bytes(4));
    0x5425     TCSBRKP            Home, Val;
    0x5427     TIOCSBRK           Home, Val;
    0x5428     TIOCCBRK           Home, Val;
    0x5429     TIOCGSID           Home, Out(Bytes(4));
    0x5437     TIOCVHANGUP        Home, Val;
    0x5441     TIOCGPTPEER        Home, Val;
    0x5450     FIONCLEX           Home, Val;
    0x5451     FIOCLEX            Home, Val;
    0x5452     FIOASYNC           Home, In(Bytes(4));
    0x5460     FIOQSIZE           Home, Out(Bytes(8));
    0x8901     FIOSETOWN          Home, In(Bytes(4));
    0x8902     SIOCSPGRP          Home, In(Bytes(4));
    0x8903     FIOGETOWN          Home, Out(Bytes(4));
    0x8904     SIOCGPGRP          Home, Out(Bytes(4));
    0x8905     SIOCATMARK         Home, Out(Bytes(4));
    0x8906     SIOCGSTAMP_OLD     Home, Out(Bytes(16));
    0x8907     SIOCGSTAMPNS_OLD   Home, Out(Bytes(16));
    0x8910     SIOCGIFNAME        Home, InOut(Bytes(40));
    0x8913     SIOCGIFFLAGS       Home, InOut(Bytes(40));
    0x8914     SIOCSIFFLAGS       Home, In(Bytes(40));
    0x8915     SIOCGIFADDR        Home, InOut(Bytes(40));
    0x8916     SIOCSIFADDR        Home, In(Bytes(40));
    0x8917     SIOCGIFDSTADDR     Home, InOut(Bytes(40));
    0x8919     SIOCGIFBRDADDR     Home, InOut(Bytes(40));
    0x891b     SIOCGIFNETMASK     Home, InOut(Bytes(40));
    0x891c     SIOCSIFNETMASK     Home, In(Bytes(40));
    0x891d     SIOCGIFMETRIC      Home, InOut(Bytes(40));
    0x8921     SIOCGIFMTU         Home, InOut(Bytes(40));
    0x8922     SIOCSIFMTU         Home, In(Bytes(40));
    0x8927     SIOCGIFHWADDR      Home, InOut(Bytes(40));
    0x8933     SIOCGIFINDEX       Home, InOut(Bytes(40));
    0x8942     SIOCGIFTXQLEN      Home, InOut(Bytes(40));
    0x8954     SIOCGARP           Home, InOut(Bytes(68));
    0xb701     NS_GET_USERNS      Home, Val;
    0xb702     NS_GET_PARENT      Home, Val;
    0xb703     NS_GET_NSTYPE      Home, Val;
    0xb704     NS_GET_OWNER_UID   Home, Out(Bytes(4));
    0x40049409 FICLONE            Home, Val;
    0x40081271 BLKBSZSET          Home, In(Bytes(4));
    0x40085203 RNDADDENTROPY      Refuse(EPERM), Val;
    0x40086602 FS_IOC_SETFLAGS    Home, In(Bytes(4));
    0x40087602 FS_IOC_SETVERSION  Home, In(Bytes(4));
    0x4020940d FICLONERANGE       Home, In(Bytes(32));
    0x80081270 BLKBSZGET          Home, Out(Bytes(4));
    0x80086601 FS_IOC_GETFLAGS    Home, Out(Bytes(4));
    0x80087601 FS_IOC_GETVERSION  Home, Out(Bytes(4));
    0xc0189436 FIDEDUPERANGE      Refuse(EOPNOTSUPP), Val;
    0xc020660b FS_IOC_FIEMAP      Refuse(EOPNOTSUPP), Val;
}
