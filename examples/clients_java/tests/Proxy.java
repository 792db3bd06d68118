import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Stands between the driver, which speaks TCP alone, and the server's unix socket. Can be told to lose things: the
 * answer to what the next client sends that contains a word, or the question itself.
 */
final class Proxy {
    final int port;
    private final ServerSocketChannel server;
    private final Set<SocketChannel> open = ConcurrentHashMap.newKeySet();
    private volatile byte[] losesAnswer, losesQuestion;
    private volatile boolean refusing;

    Proxy() throws IOException {
        server = ServerSocketChannel.open().bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        port = ((InetSocketAddress) server.getLocalAddress()).getPort();
        daemon(this::accept);
    }

    /** The next message with this in it arrives, and its connection is cut before the answer. */
    void loseAnswerTo(String text) {
        losesAnswer = text.getBytes();
    }

    /** The next message with this in it does not arrive: its connection is cut. */
    void loseQuestion(String text) {
        losesQuestion = text.getBytes();
    }

    /** Whether what was to be lost was. */
    boolean hasLost() {
        return losesAnswer == null && losesQuestion == null;
    }

    /** Cuts all connections, whatever they are at. */
    void cut() {
        open.forEach(Proxy::close);
    }

    void refuse(boolean on) {
        refusing = on;
    }

    private void accept() {
        try {
            while (true) {
                SocketChannel client = server.accept();
                if (refusing) {
                    close(client);
                    continue;
                }
                SocketChannel database = SocketChannel.open(UnixDomainSocketAddress.of(Path.of(
                        System.getenv("PGHOST"), ".s.PGSQL." + System.getenv().getOrDefault("PGPORT", "5432"))));
                Link link = new Link(client, database);
                open.add(client);
                open.add(database);
                daemon(() -> link.pump(client, database, true));
                daemon(() -> link.pump(database, client, false));
            }
        } catch (IOException closed) {
            // the end
        }
    }

    private final class Link {
        final SocketChannel client, database;
        volatile boolean mute;          // nothing is to reach the client any more

        Link(SocketChannel client, SocketChannel database) {
            this.client = client;
            this.database = database;
        }

        void pump(SocketChannel from, SocketChannel to, boolean asks) {
            ByteBuffer buffer = ByteBuffer.allocate(65536);
            try {
                while (from.read(buffer.clear()) >= 0) {
                    buffer.flip();
                    if (asks && contains(buffer, losesQuestion)) {
                        losesQuestion = null;
                        break;
                    }
                    if (asks && contains(buffer, losesAnswer)) {
                        losesAnswer = null;
                        mute = true;
                    }
                    if (!asks && mute) {
                        break;          // the server has answered: what was asked is done
                    }
                    while (buffer.hasRemaining()) {
                        to.write(buffer);
                    }
                }
            } catch (IOException cut) {
                // as at the end
            }
            close(from);
            close(to);
            open.remove(from);
            open.remove(to);
        }
    }

    private static boolean contains(ByteBuffer buffer, byte[] text) {
        return text != null && new String(buffer.array(), 0, buffer.limit(), java.nio.charset.StandardCharsets.ISO_8859_1)
                .contains(new String(text, java.nio.charset.StandardCharsets.ISO_8859_1));
    }

    private static void daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
    }

    private static void close(SocketChannel channel) {
        try {
            channel.close();
        } catch (IOException closed) {
            // so be it
        }
    }
}
