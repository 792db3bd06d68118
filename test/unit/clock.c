/*
 * test/unit/clock.c
 *		Preloaded into a server (LD_PRELOAD) this makes its clock differ by CLOCK_OFFSET
 *		seconds, so that a test has servers whose clocks do not agree.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

extern int	gettimeofday_off(struct timeval *now, void *zone) __asm__("gettimeofday");

static long
offset(void)
{
	static long seconds = 0;
	static int	is_known = 0;

	if (!is_known)
	{
		const char *setting = getenv("CLOCK_OFFSET");

		seconds = setting == NULL ? 0 : atol(setting);
		is_known = 1;
	}
	return seconds;
}

int
clock_gettime(clockid_t id, struct timespec *now)
{
	int			result = syscall(SYS_clock_gettime, id, now);

	if (result == 0 && id == CLOCK_REALTIME)
		now->tv_sec += offset();
	return result;
}

int
gettimeofday_off(struct timeval *now, void *zone)
{
	struct timespec exact;

	if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
		return -1;
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *now)
{
	struct timespec exact;

	if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
		return (time_t) -1;
	if (now != NULL)
		*now = exact.tv_sec;
	return exact.tv_sec;
}
