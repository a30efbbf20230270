"""A ChatEngine without a model."""

from concurrent.futures import Future

from kaito_runtime.serving.engine import ChatReply, QueueFullError


class EchoEngine:
    """Answers with `answer`, or the prompt; `trouble` is raised instead, `held` keeps replies back."""

    def __init__(self) -> None:
        self.trouble = None
        self.answer = ""
        self.is_full = False
        self.ended = Future()
        self.held = []
        self.holds = False

    def submit(self, request):
        if self.is_full:
            raise QueueFullError
        reply = Future()
        if self.trouble:
            reply.set_exception(self.trouble)
        elif self.holds:
            self.held.append(reply)
        else:
            text = self.answer or request.prompt or request.messages[-1]["content"]
            reply.set_result(ChatReply(text, 3, 2))
        return reply

    def is_alive(self) -> bool:
        return not self.ended.done()

    def waiting(self):
        return len(self.held)

    def stop(self) -> None:
        pass
