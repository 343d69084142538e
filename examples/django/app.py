"""A Django site that knows its guests, in one file; a site of your own keeps its settings module as it is."""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import JsonResponse
from django.urls import path

from guestpass import Gate, GuestTokenMiddleware, TokenEndpoint
from guestpass.asgi.site import Site


async def me(request: ASGIRequest) -> JsonResponse:
    guest = request.scope["state"]["guest"]
    return JsonResponse({"subject": guest.subject, "name": guest.name, "email": guest.email})


settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
urlpatterns = [path("me", me)]

gate = Gate.from_env()
guarded = GuestTokenMiddleware(get_asgi_application(), gate=gate)
application = Site(guarded, {"/guestpass/token": TokenEndpoint(gate)})
