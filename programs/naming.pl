% What is this called? Three networks look at one image - its shape, its colour, whether it is filled - and rules name it.
% Only names are observed. The name of a hollow object does not depend on its colour.

nn(shape_net, [X], S, [circle, square, triangle]) :: shape(X, S).
nn(colour_net, [X], C, [red, amber, green]) :: colour(X, C).
nn(filled_net, [X]) :: filled(X).

name(X, ring) :- shape(X, circle), \+ filled(X).
name(X, frame) :- shape(X, square), \+ filled(X).
name(X, tent) :- shape(X, triangle), \+ filled(X).
name(X, Name) :- filled(X), shape(X, S), colour(X, C), solid(S, C, Name).

solid(circle, red, tomato).
solid(circle, amber, sun).
solid(circle, green, pea).
solid(square, red, brick).
solid(square, amber, crate).
solid(square, green, hedge).
solid(triangle, red, warning).
solid(triangle, amber, cone).
solid(triangle, green, tree).
