import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;
import org.postgresql.ds.PGSimpleDataSource;

/** The store that is tested against, through a proxy. */
final class Store {
    static final String SUPERUSER = System.getenv().getOrDefault("PGUSER", "postgres");
    final Proxy proxy = new Proxy();

    Store() throws java.io.IOException {
    }

    /** A data source without a pool: each transaction has a connection of its own. */
    PGSimpleDataSource as(String role) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL("jdbc:postgresql://127.0.0.1:" + proxy.port + "/" + System.getenv("PGDATABASE") + "?sslmode=disable&gssEncMode=disable");
        source.setUser(role);
        return source;
    }

    /** With what mappers need that write the balance; prepareThreshold so that the proxy sees the text of all statements. */
    String mapperUrl() {
        return "jdbc:postgresql://127.0.0.1:" + proxy.port + "/" + System.getenv("PGDATABASE")
                + "?sslmode=disable&gssEncMode=disable&prepareThreshold=0&stringtype=unspecified&options=-c%20pointstore.balance_writer=caller";
    }

    String ask(String query) throws Exception {
        try (Connection connection = as(SUPERUSER).getConnection(); Statement statement = connection.createStatement()) {
            if (!statement.execute(query)) {
                return null;
            }
            try (ResultSet row = statement.getResultSet()) {
                return row.next() ? row.getString(1) : null;
            }
        }
    }

    void create() throws Exception {
        ask("CREATE EXTENSION pointstore");
        ask("SELECT pointstore.create_store()");
        ask("CREATE ROLE shop_app LOGIN; SELECT pointstore.grant_access('shop_app', 'writer');"
                + " ALTER ROLE shop_app SET deadlock_timeout = '20ms'");
        // by the functions as a writer, and both tables
        ask("CREATE ROLE shop_mapper LOGIN; SELECT pointstore.grant_access('shop_mapper', 'writer');"
                + " GRANT INSERT ON pointstore.event_store TO shop_mapper;"
                + " GRANT UPDATE (version, balance) ON pointstore.balance TO shop_mapper");
    }

    /** "version balance" of an account */
    String account(String userId) throws Exception {
        return ask("SELECT version || ' ' || balance FROM pointstore.account WHERE aggregate_id = '" + userId + "'");
    }

    /** What is wrong with the store, "" where nothing is. */
    String faults() throws Exception {
        return ask("SELECT coalesce(string_agg(a.aggregate_id || ' ' || f.code, ', '), '') FROM pointstore.account a,"
                + " pointstore.reconcile_account(a.aggregate_id) f");
    }

    /** A step, which is taken again where it has failed for what may be repeated: as a caller whose five attempts are over asks again. */
    interface Step {
        void take(Retry.Work<?, Exception> work) throws Exception;
    }

    interface Turn {
        void run(int client, int turn, Step step) throws Exception;
    }

    /** So many clients take so many turns, each of some steps, while connections are cut and sessions of the role ended, more often than that. */
    void storm(String role, int clients, int turns, int disturbed, Predicate<Exception> repeatable, Turn turn) throws InterruptedException {
        Semaphore steps = new Semaphore(0);
        AtomicInteger disturbances = new AtomicInteger();
        Thread disturber = disturb(steps, role, disturbances);
        Tap.Question<?>[] questions = new Tap.Question<?>[clients];
        for (int i = 0; i < clients; i++) {
            int n = i;
            questions[n] = () -> {
                for (int j = 0; j < turns; j++) {
                    turn.run(n, j, work -> until(steps, repeatable, work));
                }
                return "done";
            };
        }
        List<Object> answers = Tap.together(questions);
        disturber.interrupt();
        disturber.join();
        Tap.ok(answers.stream().allMatch("done"::equals), "a storm of cut connections and ended sessions: all get through", Tap.trace(answers));
        Tap.ok(disturbances.get() > disturbed, "there was one", disturbances);
    }

    private static void until(Semaphore steps, Predicate<Exception> repeatable, Retry.Work<?, Exception> work) throws Exception {
        for (int i = 0; ; i++) {
            try {
                work.run();
                steps.release();
                return;
            } catch (Exception error) {
                if (i == 20 || !repeatable.test(error)) {
                    throw error;
                }
            }
        }
    }

    /** Whenever some steps are done, cuts all connections, or ends sessions of the role; until it is interrupted. */
    private Thread disturb(Semaphore steps, String role, AtomicInteger disturbances) {
        Thread thread = new Thread(() -> {
            for (int i = 0; !Thread.currentThread().isInterrupted(); i++) {
                try {
                    steps.acquire(5);
                    if (i % 2 == 0) {
                        proxy.cut();
                    } else {
                        ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '" + role + "'");
                    }
                    disturbances.incrementAndGet();
                } catch (InterruptedException end) {
                    return;
                } catch (Exception error) {
                    Tap.ok(false, "disturbs", error);
                }
            }
        });
        thread.start();
        return thread;
    }
}
