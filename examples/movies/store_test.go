package main

import (
	"strconv"
	"sync"
	"testing"
)

func titles(movies []Movie) []string {
	out := make([]string, 0, len(movies))
	for _, m := range movies {
		out = append(out, m.ID+" "+m.Title)
	}
	return out
}

func TestStoreNumbersFromOneAndKeepsOrder(t *testing.T) {
	s := NewStore(Movie{Title: "a"}, Movie{Title: "b"})
	for i := 3; i <= 12; i++ {
		s.Add(Movie{Title: "m"})
	}
	all := s.All()
	for i, m := range all {
		if m.ID != strconv.Itoa(i+1) {
			t.Fatalf("entry %d has id %s: %v", i, m.ID, titles(all))
		}
	}
	if len(all) != 12 {
		t.Fatalf("got %d movies, want 12", len(all))
	}
}

func TestStoreNeverUsesAnIDTwice(t *testing.T) {
	s := NewStore(Movie{Title: "a"}, Movie{Title: "b"})
	if !s.Delete(2) {
		t.Fatal("movie 2 was not there")
	}
	if got := s.Add(Movie{Title: "c"}); got.ID != "3" {
		t.Errorf("new movie has id %s, want 3", got.ID)
	}
	if s.Delete(2) {
		t.Error("movie 2 was deleted twice")
	}
}

func TestStoreReplaceKeepsTheID(t *testing.T) {
	s := NewStore(Movie{Title: "a"})
	got, ok := s.Replace(1, Movie{ID: "77", Title: "b"})
	if !ok || got.ID != "1" || got.Title != "b" {
		t.Errorf("got %v, %t", got, ok)
	}
	if _, ok := s.Replace(2, Movie{Title: "c"}); ok {
		t.Error("replaced a movie that is not there")
	}
}

func TestStoreDoesNotShareTheCallersDirector(t *testing.T) {
	d := &Director{"Agnès", "Varda"}
	s := NewStore(Movie{Title: "a", Director: d})
	d.LastName = "changed"
	if m, _ := s.Get(1); m.Director.LastName != "Varda" {
		t.Errorf("the stored director became %q", m.Director.LastName)
	}
}

func TestStoreTakesManyWriters(t *testing.T) {
	s := NewStore()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 100 {
				m := s.Add(Movie{Title: "m"})
				id, _ := strconv.Atoi(m.ID)
				s.Replace(id, Movie{Title: "n"})
				s.All()
				s.Get(id)
			}
		}()
	}
	wg.Wait()
	all := s.All()
	if len(all) != 800 || all[799].ID != "800" {
		t.Errorf("got %d movies", len(all))
	}
}
