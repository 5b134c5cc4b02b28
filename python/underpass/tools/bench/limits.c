/* The limits of this machine: how fast two processes can hand a turn to each other and back, with nothing in between.
 *
 *     limits spin|message|futex CLIENT_CPU SERVER_CPU BATCH SAMPLES [asleep]
 *
 * `spin` hands over a bare word, `message` a word and 64 bytes that the other side copies out, `futex` a word for which the
 * other side sleeps. Prints SAMPLES lines, each the nanoseconds of one round trip, averaged over BATCH of them. A CPU of -1 leaves the process
 * where the scheduler puts it. With `asleep` the client waits, outside the timed part, until the server sleeps in the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64 };

/* Two cache lines to a side, because the adjacent line is fetched along. */
struct side {
    _Alignas(128) _Atomic uint32_t word;
    unsigned char message[MESSAGE];
};

struct exchange {
    struct side request;
    struct side reply;
};

typedef void wait_for(struct side *side, uint32_t turn);
typedef void hand_over(struct side *side, uint32_t turn);

static void fail(const char *what) {
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* Spinning. A turn that takes this many looks, milliseconds, means that both share a CPU: let the other run. Not sooner, because
 * the scheduler moves nobody who has just run. */
enum { LOOKS_BEFORE_YIELD = 100000 };

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void spin_for(struct side *side, uint32_t turn) {
    unsigned looks = 0;
    while (atomic_load_explicit(&side->word, memory_order_acquire) != turn) {
        relax();
        if (++looks % LOOKS_BEFORE_YIELD == 0) sched_yield();
    }
}

static void store(struct side *side, uint32_t turn) {
    atomic_store_explicit(&side->word, turn, memory_order_release);
}

/* Spinning, with a message. */
static unsigned char private_copy[MESSAGE];

static void spin_for_message(struct side *side, uint32_t turn) {
    spin_for(side, turn);
    memcpy(private_copy, side->message, MESSAGE);
}

static void store_message(struct side *side, uint32_t turn) {
    private_copy[turn % MESSAGE]++;
    memcpy(side->message, private_copy, MESSAGE);
    store(side, turn);
}

/* Sleeping: one futex call to wait, one to wake, each turn. */
static void sleep_for(struct side *side, uint32_t turn) {
    uint32_t seen;
    while ((seen = atomic_load_explicit(&side->word, memory_order_acquire)) != turn)
        syscall(SYS_futex, &side->word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void store_and_wake(struct side *side, uint32_t turn) {
    store(side, turn);
    syscall(SYS_futex, &side->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static const struct shape {
    const char *name;
    wait_for *wait;
    hand_over *hand;
} SHAPES[] = {
    {"spin", spin_for, store},
    {"message", spin_for_message, store_message},
    {"futex", sleep_for, store_and_wake},
};

static const struct shape *shape_named(const char *name) {
    for (size_t each = 0; each < sizeof SHAPES / sizeof *SHAPES; each++)
        if (strcmp(SHAPES[each].name, name) == 0) return &SHAPES[each];
    return NULL;
}

static void pin(int cpu) {
    if (cpu < 0) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) fail("pin");
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int open_state_of(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int state = open(path, O_RDONLY | O_CLOEXEC);
    if (state < 0) fail(path);
    return state;
}

/* The state is the letter after the name, which ends at the last closing parenthesis. */
static bool sleeps(int state) {
    char line[512];
    ssize_t size = pread(state, line, sizeof line - 1, 0);
    if (size <= 0) fail("state of the server");
    line[size] = '\0';
    const char *name_end = strrchr(line, ')');
    return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'S';
}

static pid_t start_server(struct exchange *shared, int cpu, const struct shape *shape) {
    pid_t parent = getpid();
    pid_t server = fork();
    if (server < 0) fail("fork");
    if (server > 0) return server;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(EXIT_FAILURE);
    pin(cpu);
    for (uint32_t turn = 1;; turn++) {
        shape->wait(&shared->request, turn);
        shape->hand(&shared->reply, turn);
    }
}

/* Not sampled, in nanoseconds: page faults, and the scheduler finding a CPU for each of two that may run anywhere. */
enum { WARM_UP = 20000000 };

int main(int argc, char **argv) {
    const struct shape *shape = argc < 6 ? NULL : shape_named(argv[1]);
    if (shape == NULL) {
        fprintf(stderr, "usage: limits spin|message|futex CLIENT_CPU SERVER_CPU BATCH SAMPLES [asleep]\n");
        return 2;
    }
    int client_cpu = atoi(argv[2]), server_cpu = atoi(argv[3]), batch = atoi(argv[4]), samples = atoi(argv[5]);
    bool asleep = argc > 6 && strcmp(argv[6], "asleep") == 0;

    struct exchange *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double *taken = calloc((size_t)samples, sizeof *taken);
    if (shared == MAP_FAILED || taken == NULL) fail("memory");
    pid_t server = start_server(shared, server_cpu, shape);
    pin(client_cpu);
    int state = asleep ? open_state_of(server) : -1;

    uint64_t warm = now() + WARM_UP;
    uint32_t turn = 0;
    for (int sample = 0; sample < samples;) {
        while (asleep && !sleeps(state)) relax();
        uint64_t started = now();
        for (int trip = 0; trip < batch; trip++) {
            turn++;
            shape->hand(&shared->request, turn);
            shape->wait(&shared->reply, turn);
        }
        uint64_t ended = now();
        if (started >= warm) taken[sample++] = (double)(ended - started) / batch;
    }
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    for (int sample = 0; sample < samples; sample++) printf("%.1f\n", taken[sample]);
    return 0;
}
