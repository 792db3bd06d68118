import java.sql.SQLException;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Predicate;

/**
 * Repeats what the server's answer allows to be repeated: the work as a whole, from its first statement, on a new
 * connection, after a pause drawn from the whole of an interval that doubles. After five attempts the last error is the
 * caller's. Which errors: doc/clients.md, "Errors to repeat, and not".
 */
final class Retry {
    private static final int ATTEMPTS = 5;
    private static final long FIRST_PAUSE = 50, LONGEST_PAUSE = 2000;       // milliseconds
    private static final Set<String> UNDONE = Set.of("40001", "40P01", "55P03", "PS013", "08001", "53300", "57P03");

    interface Work<T, E extends Exception> {
        T run() throws E;
    }

    static <T, E extends Exception> T call(Predicate<Exception> repeatable, Work<T, E> work) throws E {
        for (int attempt = 1; ; attempt++) {
            try {
                return work.run();
            } catch (Exception error) {
                if (attempt == ATTEMPTS || !repeatable.test(error) || !pause(attempt)) {
                    throw error;
                }
            }
        }
    }

    /** Any work: it was rolled back (40001, 40P01, 55P03, PS013), or there was no connection to begin with. */
    static boolean undone(Exception error) {
        return UNDONE.contains(sqlState(error));
    }

    /** Work that goes by a request_id: also where the answer was lost, and nobody knows whether it was applied. */
    static boolean undoneOrUnknown(Exception error) {
        return undone(error) || sqlState(error).matches("08...|57014|57P0[125]|53...");
    }

    /** What the server, or the driver where no server answered, says is wrong; "" where neither was asked. */
    static String sqlState(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof SQLException sql && sql.getSQLState() != null) {
                return sql.getSQLState();
            }
        }
        return "";
    }

    private static boolean pause(int attempt) {
        try {
            Thread.sleep(ThreadLocalRandom.current().nextLong(Math.min(LONGEST_PAUSE, FIRST_PAUSE << attempt - 1) + 1));
            return true;
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
            return false;
        }
    }
}
