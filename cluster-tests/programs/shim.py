"""Stands between a node's interface and the node: what comes and goes is late, in another order, double, damaged.

usage: shim.py INTERFACE ADDRESS/PREFIX DELAY_MS AT_ONCE DOUBLE DAMAGED; the last three in percent of datagrams.

The node gets its address at one end of a pair of interfaces, and this program carries frames between the other end and
the interface that had it, until its standard input ends; then all is as it was, and it prints what it did. A frame may
wait for any time up to DELAY_MS, and those AT_ONCE do not wait, so that they overtake others.
"""
import heapq
import random
import select
import socket
import subprocess
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
VNET_BYTES, ETHERNET_BYTES, IP_BYTES, UDP_BYTES = 10, 14, 20, 8
INNER, OUTER = "inner0", "outer0"
FRAMES_MAX = 20000


def run(*words):
    subprocess.run(words, check=True)


def opened(interface):
    # With the kernel's own header in front, which keeps what belongs to checksums and large segments.
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    end.bind((interface, 0))
    end.setblocking(False)
    return end


def set_up(interface, address):
    with open(f"/sys/class/net/{interface}/address") as file:
        hardware = file.read().strip()
    run("ip", "link", "add", INNER, "type", "veth", "peer", "name", OUTER)
    run("ip", "link", "set", INNER, "address", hardware, "up")
    run("ip", "link", "set", OUTER, "up")
    # The same address is there already, so what has bound it does not notice.
    run("ip", "address", "add", address, "dev", INNER)
    run("ip", "address", "del", address, "dev", interface)
    chain = f'type filter hook prerouting priority -300; iifname "{interface}" drop;'
    run("nft", f"table ip shim {{\nchain only {{\n{chain}\n}}\n}}")


def tear_down(interface, address):
    run("nft", "delete", "table", "ip", "shim")
    run("ip", "address", "add", address, "dev", interface)
    run("ip", "link", "del", INNER)


def is_datagram(frame):
    return frame[VNET_BYTES + 12 : VNET_BYTES + 14] == b"\x08\x00" and frame[VNET_BYTES + ETHERNET_BYTES + 9] == 17


def damaged(frame):
    first = VNET_BYTES + ETHERNET_BYTES + IP_BYTES + UDP_BYTES
    if len(frame) <= first:
        return frame
    frame = bytearray(frame)
    frame[random.randrange(first, len(frame))] ^= 1 << random.randrange(8)
    return bytes(frame)


def main():
    interface, address = sys.argv[1:3]
    delay_s = float(sys.argv[3]) / 1000
    at_once, double, damage = (float(percent) / 100 for percent in sys.argv[4:7])
    set_up(interface, address)
    ends = {0: opened(interface), 1: opened(OUTER)}
    counts = dict(carried=0, overtook=0, doubled=0, damaged=0, lost=0)
    waiting, number = [], 0
    print("ready", flush=True)
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready = select.select([sys.stdin, ends[0], ends[1]], [], [], wait)[0]
        if sys.stdin in ready:
            break
        now = time.monotonic()
        for side, end in ends.items():
            while end in ready:
                try:
                    frame = end.recv(1 << 17)
                except OSError:
                    break
                copies = 1
                late = 0.0
                if is_datagram(frame):
                    counts["carried"] += 1
                    late = random.random() * delay_s
                    if random.random() < at_once:
                        late = 0.0
                        counts["overtook"] += 1
                    if random.random() < double:
                        copies = 2
                        counts["doubled"] += 1
                    if random.random() < damage:
                        frame = damaged(frame)
                        counts["damaged"] += 1
                for copy in range(copies):
                    if len(waiting) < FRAMES_MAX:
                        number += 1
                        due = now + late + copy * random.random() * delay_s
                        heapq.heappush(waiting, (due, number, 1 - side, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, side, frame = heapq.heappop(waiting)
            try:
                ends[side].send(frame)
            except OSError:
                counts["lost"] += 1
    tear_down(interface, address)
    print(" ".join(f"{name}={count}" for name, count in counts.items()), flush=True)


main()
