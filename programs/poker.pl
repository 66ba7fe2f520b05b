% A hand of three cards, each with a rank and a suit, each seen as an image; only what the hand is worth is observed.
% The ace is the highest card, and a hand with nothing else is worth something if there is an ace in it. This tells a high
% rank from a low one. Nothing tells one suit from the other.

nn(rank_net, [C], R, [1..5]) :: rank(C, R).             % 5 is the ace
nn(suit_net, [C], S, [hearts, spades]) :: suit(C, S).

hand(X, Y, Z, Worth) :-
    rank(X, A), rank(Y, B), rank(Z, C), kind(A, B, C, Kind),
    suit(X, S), suit(Y, T), suit(Z, U), same(S, T, U, Same),
    worth(Kind, Same, Worth).

worth(straight, yes, straight_flush).
worth(three, _, three).
worth(straight, no, straight).
worth(Kind, yes, flush) :- Kind \= straight, Kind \= three.
worth(Kind, no, Kind) :- Kind \= straight, Kind \= three.

kind(A, A, A, three).
kind(A, A, B, pair) :- A \= B.
kind(A, B, A, pair) :- A \= B.
kind(B, A, A, pair) :- A \= B.
kind(A, B, C, Kind) :- A \= B, B \= C, A \= C, Span is max(A, max(B, C)) - min(A, min(B, C)), apart(A, B, C, Span, Kind).

apart(_, _, _, 2, straight).
apart(A, B, C, Span, ace) :- Span > 2, 5 is max(A, max(B, C)).
apart(A, B, C, Span, nothing) :- Span > 2, 5 > max(A, max(B, C)).

same(S, S, S, yes).
same(S, T, U, no) :- S \= T.
same(S, S, U, no) :- S \= U.
