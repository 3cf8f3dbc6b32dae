//! `semctl` and `msgctl`, by command.

use super::commands;

// GETALL and SETALL move an array whose length only the kernel knows; a guess would overwrite the program's memory.
commands! { SEMCTL:
    0  IPC_RMID     Home, Val;
    1  IPC_SET      Home, In(Bytes(104));
    2  IPC_STAT     Home, Out(Bytes(104));
    3  IPC_INFO     Home, Out(Bytes(40));
    11 GETPID       Home, Val;
    12 GETVAL       Home, Val;
    13 GETALL       Refuse(ENOSYS), Val;
    14 GETNCNT      Home, Val;
    15 GETZCNT      Home, Val;
    16 SETVAL       Home, Val;
    17 SETALL       Refuse(ENOSYS), Val;
    18 SEM_STAT     Home, Out(Bytes(104));
    19 SEM_INFO     Home, Out(Bytes(40));
    20 SEM_STAT_ANY Home, Out(Bytes(104));
}

commands! { MSGCTL:
    0  IPC_RMID     Home, Val;
    1  IPC_SET      Home, In(Bytes(120));
    2  IPC_STAT     Home, Out(Bytes(120));
    3  IPC_INFO     Home, InOut(Bytes(32));
    11 MSG_STAT     Home, Out(Bytes(120));
    12 MSG_INFO     Home, InOut(Bytes(32));
    13 MSG_STAT_ANY Home, Out(Bytes(120));
}
