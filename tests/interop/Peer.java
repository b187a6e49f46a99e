import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.zeromq.ZMQ;

/** Peers for test_zmtp2.py. JeroMQ 0.3.6, as Debian has it, is an implementation of its own and speaks ZMTP 2.0. */
public final class Peer {
    private static final int PATIENCE = 60_000; // milliseconds

    /** Arguments: what to be, the endpoint, then what that one takes. */
    public static void main(String[] arguments) {
        String[] rest = Arrays.copyOfRange(arguments, 2, arguments.length);
        ZMQ.Context context = ZMQ.context(1);
        switch (arguments[0]) {
            case "req":
                ask(connect(context, ZMQ.REQ, arguments[1], ""), rest);
                break;
            case "dealer":
                askAtOnce(connect(context, ZMQ.DEALER, arguments[1], rest[0]), Integer.parseInt(rest[1]));
                break;
            case "rep":
                answer(connect(context, ZMQ.REP, arguments[1], ""), false, rest[0]);
                break;
            case "dealer-worker":
                answer(connect(context, ZMQ.DEALER, arguments[1], rest[0]), true, rest[0]);
                break;
            default:
                throw new IllegalArgumentException(arguments[0]);
        }
        context.term();
    }

    private static ZMQ.Socket connect(ZMQ.Context context, int kind, String endpoint, String identity) {
        ZMQ.Socket socket = context.socket(kind);
        socket.setLinger(0);
        if (!identity.isEmpty()) {
            socket.setIdentity(identity.getBytes());
        }
        socket.connect(endpoint);
        return socket;
    }

    /** One request for each argument, "3,0,255" being one of three frames; prints the worker's name of each reply. */
    private static void ask(ZMQ.Socket socket, String[] requests) {
        socket.setReceiveTimeOut(PATIENCE);
        for (String request : requests) {
            List<byte[]> frames = new ArrayList<>();
            for (String size : request.split(",")) {
                frames.add(pattern(Integer.parseInt(size)));
            }
            send(socket, frames);
            List<byte[]> reply = receive(socket);
            String worker = new String(reply.remove(0));
            boolean same = Arrays.deepEquals(reply.toArray(), frames.toArray());
            System.out.println(request + (same ? " answered by " : " spoiled by ") + worker);
        }
        socket.close();
    }

    /** This many requests before the first reply, each with an envelope; prints the frames of the replies. */
    private static void askAtOnce(ZMQ.Socket socket, int count) {
        socket.setReceiveTimeOut(PATIENCE);
        for (int number = 0; number < count; number++) {
            byte[] body = Integer.toString(number).getBytes();
            send(socket, Arrays.asList("hop".getBytes(), new byte[0], body));
        }
        for (int number = 0; number < count; number++) {
            List<String> frames = new ArrayList<>();
            for (byte[] frame : receive(socket)) {
                frames.add(new String(frame));
            }
            System.out.println(String.join("|", frames));
        }
        socket.close();
    }

    /** Answers for ever: the worker's name, then what it was asked; a DEALER's envelope ends with an empty frame. */
    private static void answer(ZMQ.Socket socket, boolean enveloped, String name) {
        while (true) {
            List<byte[]> frames = receive(socket);
            int at = 0;
            if (enveloped) {
                while (frames.get(at++).length > 0) { }
            }
            frames.add(at, name.getBytes());
            send(socket, frames);
        }
    }

    private static byte[] pattern(int size) {
        byte[] body = new byte[size];
        for (int at = 0; at < size; at++) {
            body[at] = (byte) (at % 251);
        }
        return body;
    }

    private static void send(ZMQ.Socket socket, List<byte[]> frames) {
        for (int at = 0; at < frames.size(); at++) {
            if (!socket.send(frames.get(at), at < frames.size() - 1 ? ZMQ.SNDMORE : 0)) {
                throw new IllegalStateException("not sent");
            }
        }
    }

    private static List<byte[]> receive(ZMQ.Socket socket) {
        List<byte[]> frames = new ArrayList<>();
        do {
            byte[] frame = socket.recv();
            if (frame == null) {
                throw new IllegalStateException("nothing received");
            }
            frames.add(frame);
        } while (socket.hasReceiveMore());
        return frames;
    }
}
