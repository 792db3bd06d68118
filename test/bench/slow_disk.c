/*
 * test/bench/slow_disk.c
 *		Preloaded into a server (LD_PRELOAD) this makes each fdatasync() take a
 *		millisecond more, as on a network disk, so that a local one shows how
 *		a workload depends on the time that a flush takes.
 */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
fdatasync(int fd)
{
	struct timespec pause = {0, 1000000};

	nanosleep(&pause, NULL);
	return syscall(SYS_fdatasync, fd);
}
