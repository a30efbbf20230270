"""A ChatEngine without a model."""

from concurrent.futures import Future

from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.batch_engine import ChatReply, ChatRequest
from kaito_runtime.serving.engine import QueueFullError


class EchoEngine:
    """Answers with `answer`, or the prompt; `trouble` is raised instead, `held` keeps replies back."""

    def __init__(self) -> None:
        self.trouble: BaseException | None = None
        self.answer = ""
        self.is_full = False
        self.ended: Future[Failure | None] = Future()
        self.held: list[Future[ChatReply]] = []
        self.holds = False

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        if self.is_full:
            raise QueueFullError
        reply: Future[ChatReply] = Future()
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

    def waiting(self) -> int:
        return len(self.held)

    def stop(self) -> None:
        pass
