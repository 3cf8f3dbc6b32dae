//! `fcntl`, by command.

use super::commands;

commands! { COMMANDS:
    0    F_DUPFD            Home, Val;
    1    F_GETFD            Home, Val;
    2    F_SETFD            Home, Val;
    3    F_GETFL            Home, Val;
    4    F_SETFL            Home, Val;
    5    F_GETLK            Home, InOut(Bytes(32));
    6    F_SETLK            Home, In(Bytes(32));
    7    F_SETLKW           Home, In(Bytes(32));
    8    F_SETOWN           Home, Val;
    9    F_GETOWN           Home, Val;
    10   F_SETSIG           Home, Val;
    11   F_GETSIG           Home, Val;
    15   F_SETOWN_EX        Home, In(Bytes(8));
    16   F_GETOWN_EX        Home, Out(Bytes(8));
    17   F_GETOWNER_UIDS    Home, Out(Bytes(8));
    36   F_OFD_GETLK        Home, InOut(Bytes(32));
    37   F_OFD_SETLK        Home, In(Bytes(32));
    38   F_OFD_SETLKW       Home, In(Bytes(32));
    1024 F_SETLEASE         Home, Val;
    1025 F_GETLEASE         Home, Val;
    1026 F_NOTIFY           Home, Val;
    1027 F_DUPFD_QUERY      Home, Val;
    1028 F_CREATED_QUERY    Home, Val;
    1029 F_CANCELLK         Home, In(Bytes(32));
    1030 F_DUPFD_CLOEXEC    Home, Val;
    1031 F_SETPIPE_SZ       Home, Val;
    1032 F_GETPIPE_SZ       Home, Val;
    1033 F_ADD_SEALS        Home, Val;
    1034 F_GET_SEALS        Home, Val;
    1035 F_GET_RW_HINT      Home, Out(Bytes(8));
    1036 F_SET_RW_HINT      Home, In(Bytes(8));
    1037 F_GET_FILE_RW_HINT Home, Out(Bytes(8));
    1038 F_SET_FILE_RW_HINT Home, In(Bytes(8));
}
