//! `prctl`, by option. What has no row gets `EINVAL`, as from a kernel that does not know the option.

use super::commands;

commands! { COMMANDS:
    1          PR_SET_PDEATHSIG         Home, Val;
    2          PR_GET_PDEATHSIG         Home, Out(Bytes(4));
    3          PR_GET_DUMPABLE          Home, Val;
    4          PR_SET_DUMPABLE          Home, Val;
    7          PR_GET_KEEPCAPS          Home, Val;
    8          PR_SET_KEEPCAPS          Home, Val;
    13         PR_GET_TIMING            Home, Val;
    14         PR_SET_TIMING            Home, Val;
    15         PR_SET_NAME              Special(Mirror), Cut(16);
    16         PR_GET_NAME              Local, Val;
    21         PR_GET_SECCOMP           Home, Val;
    22         PR_SET_SECCOMP           Refuse(EINVAL), Val;
    23         PR_CAPBSET_READ          Home, Val;
    24         PR_CAPBSET_DROP          Home, Val;
    25         PR_GET_TSC               Local, Val;
    27         PR_GET_SECUREBITS        Home, Val;
    28         PR_SET_SECUREBITS        Home, Val;
    29         PR_SET_TIMERSLACK        Home, Val;
    30         PR_GET_TIMERSLACK        Home, Val;
    33         PR_MCE_KILL              Home, Val;
    34         PR_MCE_KILL_GET          Home, Val;
    35         PR_SET_MM                Refuse(EPERM), Val;
    36         PR_SET_CHILD_SUBREAPER   Home, Val;
    37         PR_GET_CHILD_SUBREAPER   Home, Out(Bytes(4));
    38         PR_SET_NO_NEW_PRIVS      Home, Val;
    39         PR_GET_NO_NEW_PRIVS      Home, Val;
    40         PR_GET_TID_ADDRESS       Local, Val;
    41         PR_SET_THP_DISABLE       Special(Mirror), Val;
    42         PR_GET_THP_DISABLE       Home, Val;
    47         PR_CAP_AMBIENT           Home, Val;
    52         PR_GET_SPECULATION_CTRL  Home, Val;
    53         PR_SET_SPECULATION_CTRL  Special(Mirror), Val;
    57         PR_SET_IO_FLUSHER        Home, Val;
    58         PR_GET_IO_FLUSHER        Home, Val;
    59         PR_SET_SYSCALL_USER_DISPATCH Refuse(EINVAL), Val;
    65         PR_SET_MDWE              Refuse(EINVAL), Val;
    0x41555856 PR_GET_AUXV              Local, Val;
    0x53564d41 PR_SET_VMA               Local, Val;
    0x59616d61 PR_SET_PTRACER           Home, Val;
}
