import java.sql.SQLException;
import org.springframework.dao.DataAccessException;
import org.springframework.dao.DataIntegrityViolationException;
import org.springframework.dao.InvalidDataAccessApiUsageException;
import org.springframework.dao.OptimisticLockingFailureException;
import org.springframework.jdbc.support.SQLErrorCodeSQLExceptionTranslator;
import javax.sql.DataSource;

/**
 * The store's SQLSTATEs as Spring's exceptions; without it they are UncategorizedSQLException. It is given to
 * JdbcTemplate.setExceptionTranslator(). What is not the store's is translated as ever.
 */
class SpringErrors extends SQLErrorCodeSQLExceptionTranslator {
    SpringErrors(DataSource dataSource) {
        super(dataSource);
    }

    @Override
    protected DataAccessException customTranslate(String task, String sql, SQLException error) {
        String message = task + ": " + error.getMessage();
        return switch (error.getSQLState() == null ? "" : error.getSQLState()) {
            // read again and decide again
            case "PS001" -> new OptimisticLockingFailureException(message, error);
            // refused for what the account is: told to the user
            case "PS003", "PS004", "PS005", "PS007", "PS008", "PS009", "PS011", "PS012", "PS014" -> new Refused(message, error);
            // mistakes of the program
            case "PS002", "PS006", "PS010" -> new InvalidDataAccessApiUsageException(message, error);
            default -> null;
        };
    }

    /** What the rules refuse; its SQLSTATE says which. */
    static class Refused extends DataIntegrityViolationException {
        final String sqlState;

        Refused(String message, SQLException error) {
            super(message, error);
            sqlState = error.getSQLState();
        }
    }
}
