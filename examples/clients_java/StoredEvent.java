import java.io.Serializable;
import java.util.Date;
import java.util.Objects;
import javax.persistence.Column;
import javax.persistence.Entity;
import javax.persistence.Id;
import javax.persistence.IdClass;
import javax.persistence.Table;
import javax.persistence.Temporal;
import javax.persistence.TemporalType;

/** An event. Its columns are inserted and never updated. */
@Entity
@IdClass(StoredEvent.Key.class)
@Table(schema = "pointstore", name = "event_store")
public class StoredEvent {
    @Id
    @Column(name = "aggregate_id", updatable = false)
    public String aggregateId;

    @Id
    @Column(name = "version", updatable = false)
    public long version;            // the event's number: not a @Version

    @Column(name = "event_type", updatable = false)
    public String eventType;

    @Column(name = "amount", updatable = false)
    public long amount;

    @Column(name = "payload", updatable = false)
    public String payload;          // JSON; the connection has stringtype=unspecified

    @Column(name = "request_id", updatable = false)
    public String requestId;

    // what the store alone writes: refresh() reads it
    @Column(name = "id", insertable = false, updatable = false)
    public Long eventId;            // "id" would be the key to Hibernate

    @Column(name = "balance_after", insertable = false, updatable = false)
    public Long balanceAfter;

    @Temporal(TemporalType.TIMESTAMP)
    @Column(name = "created_at", insertable = false, updatable = false)
    public Date createdAt;

    public static class Key implements Serializable {
        public String aggregateId;
        public long version;

        @Override
        public boolean equals(Object other) {
            return other instanceof Key key && key.version == version && key.aggregateId.equals(aggregateId);
        }

        @Override
        public int hashCode() {
            return Objects.hash(aggregateId, version);
        }
    }
}
