// Command movies is a small movie catalogue over HTTP, kept in memory.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	defaultPort   = "8000"
	headerTimeout = 5 * time.Second
	shutdownGrace = 10 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	port := os.Getenv("PORT")
	if port == "" {
		port = defaultPort
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	if err := serve(ctx, listener, NewHandler(NewStore(seed()...))); err != nil {
		log.Fatal(err)
	}
	log.Print("stopped")
}

// serve answers requests until ctx ends, then finishes those that are under way.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func seed() []Movie {
	return []Movie{
		{Title: "Metropolis", Year: 1927, Director: &Director{"Fritz", "Lang"}},
		{Title: "Seven Samurai", Year: 1954, Director: &Director{"Akira", "Kurosawa"}},
		{Title: "Cléo from 5 to 7", Year: 1962, Director: &Director{"Agnès", "Varda"}},
	}
}
