import java.util.function.Function;
import javax.persistence.EntityManager;
import javax.persistence.EntityManagerFactory;
import javax.persistence.LockModeType;
import javax.persistence.OptimisticLockException;
import javax.persistence.Query;

/**
 * The same by JPA. By entities: the mapper writes the event and the balance, on a connection with
 * pointstore.balance_writer = 'caller' and stringtype = 'unspecified'. By the functions: native queries.
 */
class Payments {
    private final EntityManagerFactory factory;

    Payments(EntityManagerFactory factory) {
        this.factory = factory;
    }

    /** Who is flushed first: as the mapper has it, or as the program says. */
    enum Flush { BY_MAPPER, EVENT_FIRST, BALANCE_FIRST }

    /** A transaction, with an EntityManager of its own: what was read in one that failed is stale. */
    <T> T inTransaction(Function<EntityManager, T> work) {
        EntityManager entities = factory.createEntityManager();
        try {
            entities.getTransaction().begin();
            T result = work.apply(entities);
            entities.getTransaction().commit();
            return result;
        } finally {
            if (entities.getTransaction().isActive()) {
                rollBack(entities);
            }
            entities.close();
        }
    }

    /** Earns (amount above 0) or spends, optimistically: @Version asks for the version that was read. Returns the balance. */
    long change(String userId, long amount, String requestId) {
        return Retry.call(Payments::undoneOrUnknownOrFaster,
                () -> inTransaction(entities -> changeIn(entities, LockModeType.NONE, Flush.BY_MAPPER, userId, amount, requestId)));
    }

    /** The same under a lock: SELECT … FOR UPDATE. Whoever comes second waits. */
    long changeLocked(String userId, long amount, String requestId) {
        return Retry.call(Retry::undoneOrUnknown,
                () -> inTransaction(entities -> changeIn(entities, LockModeType.PESSIMISTIC_WRITE, Flush.BY_MAPPER, userId, amount, requestId)));
    }

    static long changeIn(EntityManager entities, LockModeType lock, Flush first, String userId, long amount, String requestId) {
        Balance account = entities.find(Balance.class, userId, lock);
        // the INSERT of a request that was applied is skipped, and the UPDATE beside it would be PS010: so look first
        for (Object applied : entities.createQuery("SELECT e FROM StoredEvent e WHERE e.requestId = :request")
                .setParameter("request", requestId).getResultList()) {
            return ((StoredEvent) applied).balanceAfter;
        }
        StoredEvent event = new StoredEvent();
        event.aggregateId = userId;
        event.version = account.version + 1;
        event.eventType = amount < 0 ? "PointSpent" : "PointEarned";
        event.amount = amount;
        event.payload = "{\"by\": \"mapper\"}";
        event.requestId = requestId;
        if (first == Flush.EVENT_FIRST) {
            entities.persist(event);
            entities.flush();
        }
        account.balance += amount;
        if (amount == 0) {          // the entity is as it was: else no UPDATE would raise its version
            entities.lock(account, LockModeType.PESSIMISTIC_FORCE_INCREMENT);
        }
        if (first == Flush.BALANCE_FIRST) {
            entities.flush();
        }
        if (first != Flush.EVENT_FIRST) {
            entities.persist(event);
        }
        return account.balance;
    }

    /** What work may be repeated for that goes by a request_id, and reads again. */
    static boolean undoneOrUnknownOrFaster(Exception error) {
        return Retry.undoneOrUnknown(error) || somebodyWasFaster(error);
    }

    /** Refused for the version: by the mapper, whose UPDATE found no row, or by the store, whose INSERT came first. */
    static boolean somebodyWasFaster(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof OptimisticLockException) {
                return true;
            }
        }
        return Retry.sqlState(error).matches("PS001|PS010|23505");
    }

    /** By the function. CAST and not ::, which a mapper takes for a parameter. A null is not given but left out. */
    Wallet.Receipt trySpend(String userId, String orderId, long amount) {
        return Retry.call(Retry::undoneOrUnknown, () -> inTransaction(entities -> receipt(entities.createNativeQuery(
                "SELECT outcome, version, balance FROM pointstore.try_append_event(?1, 'PointSpent', ?2, CAST(?3 AS jsonb), request_id => ?4)")
                .setParameter(1, userId).setParameter(2, -amount)
                .setParameter(3, "{\"order\": \"" + orderId + "\"}").setParameter(4, "spend-" + orderId))));
    }

    static Wallet.Receipt receipt(Query query) {
        Object[] row = (Object[]) query.getSingleResult();
        return new Wallet.Receipt((String) row[0], ((Number) row[1]).longValue(), ((Number) row[2]).longValue());
    }

    private static void rollBack(EntityManager entities) {
        try {
            entities.getTransaction().rollback();
        } catch (RuntimeException lost) {
            // with the connection the transaction is gone; the first error is the one to tell
        }
    }
}
