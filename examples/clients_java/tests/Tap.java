import java.util.Objects;

/** Prints TAP. */
final class Tap {
    static int tests, failures;

    interface Step {
        void run() throws Exception;
    }

    interface Question<T> {
        T ask() throws Exception;
    }

    static synchronized void ok(boolean passed, String name, Object detail) {
        tests++;
        failures += passed ? 0 : 1;
        System.out.println((passed ? "ok " : "not ok ") + tests + " - " + name);
        if (!passed) {
            System.out.println(("# " + detail).replace("\n", "\n# "));
        }
    }

    static void is(Object found, Object expected, String name) {
        ok(Objects.equals(found, expected), name, "found " + found + ", expected " + expected);
    }

    /** The SQLSTATE that this ends with, "" where it does not fail. */
    static String stateOf(Step step) {
        try {
            step.run();
            return "";
        } catch (Exception error) {
            String state = Retry.sqlState(error);
            return state.isEmpty() ? error.toString() : state;
        }
    }

    /** Starts all at once, and waits for their ends: what each returned, or the Exception that it ended with. */
    static java.util.List<Object> together(Question<?>... questions) throws InterruptedException {
        Object[] answers = new Object[questions.length];
        Thread[] threads = new Thread[questions.length];
        for (int i = 0; i < questions.length; i++) {
            int n = i;
            threads[n] = new Thread(() -> {
                try {
                    answers[n] = questions[n].ask();
                } catch (Exception error) {
                    answers[n] = error;
                }
            });
            threads[n].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return java.util.Arrays.asList(answers);
    }

    /** Runs the steps; a failure of one is a failed test. */
    static void section(String name, Step step) {
        try {
            step.run();
        } catch (Exception | AssertionError error) {
            ok(false, name, trace(java.util.List.of(error)));
        }
    }

    /** Where those errors are from that are among these. */
    static String trace(java.util.List<?> ends) {
        java.io.StringWriter text = new java.io.StringWriter();
        for (Object end : ends) {
            if (end instanceof Throwable error) {
                error.printStackTrace(new java.io.PrintWriter(text));
            }
        }
        return text.toString();
    }
}
