// wake: what the agent needs done that a shell cannot do, or only by starting a program.
//
// An emulator that goes on from kept memory has to translate all code anew, so every program that need not start is time won, and
// one without a library starts in a tenth of the time. Images are built with the compiler alone.
//
// `wake run NAME=VALUE... PROGRAM ARGUMENT...` becomes PROGRAM, in a session of its own, with this environment alone.
// `wake nap` sleeps for a quarter of a second.
// `wake` waits until a disk begins with the wake block, sets clock and random generator by it, and mounts the disk: a machine that is
// restored has those of the moment at which it was kept, and the generator takes entropy only by an ioctl. Then it serves. After a
// rehearsal it waits again: an emulator then has translated what a job needs.
//
//   standard input    where to mount the disk, and options of ext4: two lines, written at once; afterwards lines, each written at
//                     once when the answer to the one before was read: a folder to make, nothing for a sync, or "unmount"
//   standard output   a line "ready", then "job /dev/NAME" or "rehearsal /dev/NAME" once a disk is mounted, then a line for each one:
//                     "made", "refused", "synced" or "unmounted"; a line "error N" and the end when step N of `take_up` failed, a
//                     sync (9) or the unmount (8)
//
//   wake block, the first 512 bytes of the IO disk (ext4 leaves them free), little endian:
//      0  16  "anyvisor-wake\n", zeros
//     16   8  nanoseconds since 1970
//     24  64  random bytes
//     88   1  0: a job; 1: a rehearsal, after which the block is filled with zeros
//
// Numbers of calls and requests: Linux, arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/linux/{random,fs,mount}.h.

typedef unsigned char byte;
typedef long word;

enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, IOCTL = 16, PREAD = 17, PWRITE = 18, NANOSLEEP = 35, EXECVE = 59, EXIT = 60 };
enum { MKDIR = 83, SETSID = 112, MOUNT = 165, UMOUNT = 166, CLOCK_SETTIME = 227, SYNCFS = 306 };
enum { O_RDWR = 2, O_DIRECT = 040000, MS_NOATIME = 1024 };
enum { RNDADDENTROPY = 0x40085203, RNDRESEEDCRNG = 0x5207, BLKFLSBUF = 0x1261 };
enum { SEED = 64 };

static word call5(word number, word a, word b, word c, word d, word e) {
    register word r10 __asm__("r10") = d;
    register word r8 __asm__("r8") = e;
    word answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return answer;
}

static word call(word number, word a, word b, word c, word d) { return call5(number, a, b, c, d, 0); }

static byte block[4096] __attribute__((aligned(4096)));
static char name[] = "/dev/vda\n";
static int is_rehearsal;
static char order[256], *options;
static struct {
    int bits, size;
    byte seed[SEED];
} entropy;

static int is_wake_block(void) {
    static const char mark[16] = "anyvisor-wake\n";
    for (int i = 0; i < 16; i++)
        if (block[i] != (byte)mark[i]) return 0;
    return 1;
}

// Past the cache: what this guest has read before is not what the disk holds now.
static int found(void) {
    name[8] = 0;
    word disk = call(OPEN, (word)name, O_DIRECT, 0, 0);
    if (disk < 0) return 0;
    int is_it = call(PREAD, disk, (word)block, sizeof block, 0) == sizeof block && is_wake_block();
    if (is_it) call(IOCTL, disk, BLKFLSBUF, 0, 0);
    call(CLOSE, disk, 0, 0, 0);
    return is_it;
}

static void find(void) {
    static const char kinds[] = "vs";
    static const word pause[2] = {0, 2000000};
    for (;;) {
        for (int kind = 0; kind < 2; kind++)
            for (char letter = 'a'; letter <= 'd'; letter++) {
                name[5] = kinds[kind];
                name[7] = letter;
                if (found()) return;
            }
        call(NANOSLEEP, (word)pause, 0, 0, 0);
    }
}

// Sets clock and random generator, and mounts the disk; answers 0, or the number of the step that failed.
static int take_up(void) {
    unsigned long long nanoseconds;
    is_rehearsal = block[88] == 1;
    __builtin_memcpy(&nanoseconds, block + 16, 8);
    word time[2] = {(word)(nanoseconds / 1000000000), (word)(nanoseconds % 1000000000)};
    if (call(CLOCK_SETTIME, 0, (word)time, 0, 0) < 0) return 2;
    entropy.bits = SEED * 8;
    entropy.size = SEED;
    for (int i = 0; i < SEED; i++) entropy.seed[i] = block[24 + i];
    word generator = call(OPEN, (word)"/dev/urandom", O_RDWR, 0, 0);
    if (generator < 0) return 3;
    if (call(IOCTL, generator, RNDADDENTROPY, (word)&entropy, 0) < 0) return 4;
    // Without it the kernel goes on with the old key for up to a minute.
    if (call(IOCTL, generator, RNDRESEEDCRNG, 0, 0) < 0) return 5;
    call(CLOSE, generator, 0, 0, 0);
    return call5(MOUNT, (word)name, (word)order, (word)"ext4", MS_NOATIME, (word)options) < 0 ? 6 : 0;
}

// Reads the order: two lines, made two strings.
static int understood(void) {
    word length = call(READ, 0, (word)order, sizeof order - 1, 0);
    for (word i = 0; i < length; i++) {
        if (order[i] != '\n') continue;
        order[i] = 0;
        if (options) return 1;
        options = order + i + 1;
    }
    return 0;
}

static int synced(void) {
    word place = call(OPEN, (word)order, 0, 0, 0);
    int is_synced = place >= 0 && call(SYNCFS, place, 0, 0, 0) == 0;
    call(CLOSE, place, 0, 0, 0);
    return is_synced;
}

static void say(const char *text, word length) { call(WRITE, 1, (word)text, length, 0); }

static void give_up(int step) {
    static char line[] = "error 0\n";
    line[6] = '0' + step;
    say(line, sizeof line - 1);
    call(EXIT, step, 0, 0, 0);
}

// Makes the folder whose name, with a line's end, is the first LENGTH bytes of `line`.
static int made(char *line, word length) {
    if (line[length - 1] != '\n') return 0;
    line[length - 1] = 0;
    return call(MKDIR, (word)line, 0755, 0, 0) == 0;
}

// Serves the agent until it wants the disk unmounted; answers 0 when it is.
static int served(void) {
    static char line[512];
    for (word length; (length = call(READ, 0, (word)line, sizeof line, 0)) > 0;) {
        if (line[0] == 'u') return call(UMOUNT, (word)order, 0, 0, 0) < 0 ? 8 : 0;
        if (length == 1) {
            if (!synced()) return 9;
            say("synced\n", 7);
        } else if (made(line, length)) {
            say("made\n", 5);
        } else {
            say("refused\n", 8);
        }
    }
    return 8;
}

// Takes the wake block away, so that the same rehearsal does not begin again.
static int forgotten(void) {
    static byte zeros[512] __attribute__((aligned(512)));
    word disk = call(OPEN, (word)name, O_RDWR | O_DIRECT, 0, 0);
    int is_gone = disk >= 0 && call(PWRITE, disk, (word)zeros, sizeof zeros, 0) == sizeof zeros;
    call(CLOSE, disk, 0, 0, 0);
    return is_gone;
}

static void wait_and_serve(void) {
    if (!understood()) give_up(1);
    say("ready\n", 6);
    do {
        find();
        int failed = take_up();
        if (failed) give_up(failed);
        if (is_rehearsal)
            say("rehearsal ", 10);
        else
            say("job ", 4);
        name[8] = '\n';
        say(name, sizeof name - 1);
        failed = served();
        if (failed) give_up(failed);
        name[8] = 0;
        if (is_rehearsal && !forgotten()) give_up(7);
        say("unmounted\n", 10);
    } while (is_rehearsal);
}

static int is_assignment(const char *text) {
    while (*text && *text != '=') text++;
    return *text == '=';
}

// Answers the status of a shell that finds no program; it comes back only then.
static int run(char **arguments) {
    static char *environment[64];
    int count = 0;
    while (*arguments && count < 63 && is_assignment(*arguments)) environment[count++] = *arguments++;
    call(SETSID, 0, 0, 0, 0);
    if (*arguments) call(EXECVE, (word)*arguments, (word)arguments, (word)environment, 0);
    return 127;
}

static void nap(void) {
    static const word quarter[2] = {0, 250000000};
    call(NANOSLEEP, (word)quarter, 0, 0, 0);
}

// What the kernel puts on a new program's stack: the count of arguments, and the arguments (System V ABI, AMD64, 3.4.1).
__attribute__((used)) static void begin(word *stack) {
    char **arguments = (char **)(stack + 1);
    int status = 0;
    if (stack[0] < 2)
        wait_and_serve();
    else if (arguments[1][0] == 'r')
        status = run(arguments + 2);
    else
        nap();
    call(EXIT, status, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
