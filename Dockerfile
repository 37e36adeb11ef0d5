# One static binary, nobody's user, nothing else but the roots that TLS needs.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY *.go ./
COPY config config
COPY keying keying
COPY proxy proxy
COPY warm warm
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /warmfront .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /warmfront /warmfront
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/warmfront"]
