import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;

/** Threads, locks, timers, compiled code, null checks by signal, garbage, a file and a program of its own.
 *
 * usage: Threads ROUNDS
 */
class Threads {
    static final int WORKERS = 4;
    static final AtomicLong ticks = new AtomicLong();
    static final Object lock = new Object();
    static long shared = 0;

    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[0]);
        ExecutorService pool = Executors.newFixedThreadPool(WORKERS);
        ScheduledExecutorService timer = Executors.newScheduledThreadPool(1);
        timer.scheduleAtFixedRate(new Ticker(), 5, 5, TimeUnit.MILLISECONDS);
        for (int round = 1; round <= rounds; round++) {
            List<Future<Long>> results = new ArrayList<>();
            for (int number = 0; number < 2 * WORKERS; number++) {
                long seed = round * 1000L + number;
                results.add(pool.submit(() -> work(seed)));
            }
            long sum = 0;
            for (Future<Long> result : results) {
                sum ^= result.get(1, TimeUnit.MINUTES);
            }
            long counted;
            synchronized (lock) {
                counted = shared;
            }
            expect(counted == round * 2L * WORKERS * 100, "the lock let two in: " + counted);
            System.out.printf("%d %016x lines %d said %s%n", round, sum, lines(round), said(round));
        }
        expect(rounds < 50 || ticks.get() > 0, "no timer ran");
        pool.shutdown();
        timer.shutdownNow();
        System.out.println("right");
    }

    static long work(long seed) {
        CRC32 crc = new CRC32();
        ConcurrentHashMap<String, byte[]> garbage = new ConcurrentHashMap<>();
        long value = seed;
        for (int step = 0; step < 100; step++) {
            byte[] block = new byte[8192];
            for (int at = 0; at < block.length; at++) {
                value = value * 6364136223846793005L + 1442695040888963407L;
                block[at] = (byte) (value >>> 56);
            }
            crc.update(block);
            garbage.put("step " + step % 10, block);
            value ^= nulls(step % 3 == 0 ? null : "text");
            synchronized (lock) {
                shared++;
            }
        }
        TreeMap<String, byte[]> sorted = new TreeMap<>(garbage);
        for (byte[] block : sorted.values()) {
            crc.update(block, 0, 64);
        }
        return value ^ crc.getValue() << 32;
    }

    /** The machine checks for null by letting the access fail. */
    static int nulls(String text) {
        try {
            return text.length();
        } catch (NullPointerException missing) {
            return -1;
        }
    }

    static int lines(int round) throws Exception {
        Path path = Files.createTempFile("lines", null);
        try (BufferedWriter writer = Files.newBufferedWriter(path)) {
            for (int number = 0; number < 200; number++) {
                writer.write(round + " " + number + "\n");
            }
        }
        int sum = 0;
        try (BufferedReader reader = Files.newBufferedReader(path)) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                sum += Integer.parseInt(line.split(" ")[1]);
            }
        }
        Files.delete(path);
        return sum;
    }

    /** A program of its own, every tenth round. */
    static String said(int round) throws Exception {
        if (round % 10 != 1) {
            return "nothing";
        }
        Process process = new ProcessBuilder("tr", "a-z", "A-Z").start();
        try (var input = process.getOutputStream()) {
            input.write(("round " + round).getBytes());
        }
        String said = new String(process.getInputStream().readAllBytes());
        expect(process.waitFor() == 0, "tr failed");
        return said;
    }

    static void expect(boolean condition, String otherwise) {
        if (!condition) {
            System.out.println("wrong: " + otherwise);
            System.exit(1);
        }
    }

    /** No clock steps. */
    static class Ticker implements Runnable {
        long last = System.nanoTime();

        @Override
        public void run() {
            long now = System.nanoTime();
            expect(now >= last && now - last < TimeUnit.SECONDS.toNanos(30), "a clock stepped by " + (now - last));
            last = now;
            ticks.incrementAndGet();
        }
    }
}
