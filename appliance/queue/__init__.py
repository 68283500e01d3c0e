"""The durable queue: when to try again (`schedule`), the runner, and the notices that senders get (`bounces`)."""
