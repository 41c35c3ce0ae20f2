"""An RTSP server of H.264 for the tests, run by the system's Python, which has GStreamer's.

    /usr/bin/python3 rtsp_server.py PORT WIDTH HEIGHT FPS EPOCH

It prints its port once it listens. Frames carry as their number the frames since EPOCH (seconds
of the monotonic clock), so that the numbers go on over a restart. The cells
are those of numbered_frames.py, written without NumPy.
"""

import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PORT, WIDTH, HEIGHT, FPS = (int(word) for word in sys.argv[1:5])
EPOCH = float(sys.argv[5])
LAUNCH = (
    f"( appsrc name=source is-live=true do-timestamp=true format=time block=false "
    f"caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={FPS}/1 "
    f"! videoconvert ! video/x-raw,format=I420 "
    f"! x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max={FPS} "
    f"! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def frame_bytes(number):
    check = (number * 73 + 41) % 256
    bits = f"1{number % 65536:016b}{check:08b}0"
    edges = [round(WIDTH * i / len(bits)) for i in range(len(bits) + 1)]
    band = b"".join(
        (b"\xff" if bit == "1" else b"\0") * (edges[i + 1] - edges[i]) for i, bit in enumerate(bits)
    )
    ramp = bytes((x + number) % 200 + 28 for x in range(WIDTH))
    rows = HEIGHT // 8
    return band * rows + ramp * (HEIGHT - rows)


def feed(source):
    # Until the pipeline plays, and after its last client has gone, a source refuses buffers.
    refused = 0
    while refused < 5 * FPS:
        number = int((time.monotonic() - EPOCH) * FPS) + 1
        data = frame_bytes(number)
        time.sleep(max(0.0, EPOCH + number / FPS - time.monotonic()))
        flow = source.emit("push-buffer", Gst.Buffer.new_wrapped(data))
        refused = 0 if flow == Gst.FlowReturn.OK else refused + 1


def configure(_, media):
    source = media.get_element().get_by_name("source")
    threading.Thread(target=feed, args=(source,), daemon=True).start()


Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(str(PORT))
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(LAUNCH)
factory.set_shared(True)
factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
