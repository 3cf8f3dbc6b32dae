// Goroutines, channels, timers, a file read line by line and programs of its own, under a garbage collector.
//
// usage: goroutines [ROUNDS]
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const workers = 8

type task struct {
	round, number int
}

type result struct {
	task
	sum [sha256.Size]byte
}

func main() {
	rounds := 3
	if len(os.Args) > 1 {
		count, err := strconv.Atoi(os.Args[1])
		check(err)
		rounds = count
	}
	ticks := tick()
	tasks, results := make(chan task), make(chan result, workers)
	var group sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go work(tasks, results, &group)
	}
	for round := 1; round <= rounds; round++ {
		go func(round int) {
			for number := 0; number < 2*workers; number++ {
				tasks <- task{round, number}
			}
		}(round)
		fmt.Printf("%d %x lines %d said %s\n", round, collect(round, results), lines(round), said(round))
	}
	close(tasks)
	group.Wait()
	if atomic.LoadInt64(ticks) == 0 && rounds > 50 {
		fail("no timer ran")
	}
	fmt.Println("right")
}

// Hashes freshly allocated memory, so that the garbage collector runs all the time.
func work(tasks <-chan task, results chan<- result, group *sync.WaitGroup) {
	defer group.Done()
	for task := range tasks {
		sum := sha256.Sum256([]byte(fmt.Sprint(task)))
		for step := 0; step < 40; step++ {
			block := bytes.Repeat(sum[:], 512)
			sum = sha256.Sum256(block)
		}
		results <- result{task, sum}
	}
}

// In whatever order they come, they come to the same.
func collect(round int, results <-chan result) (all [sha256.Size]byte) {
	seen := map[int]bool{}
	for len(seen) < 2*workers {
		select {
		case result := <-results:
			if result.round != round || seen[result.number] {
				fail("a result came twice or late")
			}
			seen[result.number] = true
			for at, value := range result.sum {
				all[at] ^= value
			}
		case <-time.After(time.Minute):
			fail("no result for a minute")
		}
	}
	return all
}

// A ticker that must never run backwards or stand still for long.
func tick() *int64 {
	ticks := new(int64)
	go func() {
		last := time.Now()
		for now := range time.Tick(5 * time.Millisecond) {
			if step := now.Sub(last); step < 0 || step > 30*time.Second {
				fail(fmt.Sprint("a clock stepped by ", step))
			}
			last = now
			atomic.AddInt64(ticks, 1)
		}
	}()
	return ticks
}

// Writes a file, reads it line by line and removes it.
func lines(round int) (sum int) {
	file, err := os.CreateTemp("", "lines")
	check(err)
	defer os.Remove(file.Name())
	writer := bufio.NewWriterSize(file, 512)
	for number := 0; number < 200; number++ {
		_, err := fmt.Fprintln(writer, round, number)
		check(err)
	}
	check(writer.Flush())
	_, err = file.Seek(0, 0)
	check(err)
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		number, err := strconv.Atoi(strings.Fields(scanner.Text())[1])
		check(err)
		sum += number
	}
	check(file.Close())
	return sum
}

// A program of its own, every tenth round.
func said(round int) string {
	if round%10 != 1 {
		return "nothing"
	}
	command := exec.Command("tr", "a-z", "A-Z")
	command.Stdin = strings.NewReader(fmt.Sprint("round ", round))
	said, err := command.Output()
	check(err)
	return string(said)
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(what string) {
	fmt.Println("wrong:", what)
	os.Exit(1)
}
